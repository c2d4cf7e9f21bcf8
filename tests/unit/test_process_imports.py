"""The processes load no library that they never use."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

_PROGRAM = """
import contextlib, runpy, sys
package, *sys.argv[1:] = sys.argv[1:]
with contextlib.suppress(SystemExit, ValueError):  # the setting is wrong, so that none goes on
    runpy.run_module(package, run_name="__main__", alter_sys=True)
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        (["api"], {"rich", "pygments"}),
        (["worker"], {"rich", "pygments"}),
        (["worker", "webhooks"], {"rich", "pygments", "celery"}),
        (["worker", "keeper"], {"rich", "pygments", "numpy", "grpc", "httpx"}),
    ],
)
def test_a_process_loads_no_library_that_it_never_uses(
    command: list[str], unused: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command],
        env={**os.environ, "SLUICE_LIMITS_MAX_BYTES": "wrong"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(done.stdout.split())
    assert "sluice.settings" in loaded
    assert not unused & loaded
