"""The start of the worker's processes, `python -m worker`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("process", "signs", "others"),
    [
        (
            "predictions",
            ["SLUICE_WORKER_READY_FILE", "SLUICE_WORKER_ALIVE_FILE"],
            ["SLUICE_WEBHOOKS_READY_FILE"],
        ),
        ("keeper", ["SLUICE_WORKER_ALIVE_FILE"], ["SLUICE_WORKER_READY_FILE"]),
        (
            "webhooks",
            ["SLUICE_WEBHOOKS_READY_FILE", "SLUICE_WEBHOOKS_ALIVE_FILE"],
            ["SLUICE_WORKER_READY_FILE"],
        ),
    ],
)
def test_files_that_a_killed_process_left_are_removed_before_all_else(
    tmp_path: Path, process: str, signs: list[str], others: list[str]
) -> None:
    """A wrong setting ends the process right afterwards."""
    files = {name: tmp_path / name for name in (*signs, *others)}
    for file in files.values():
        file.touch()
    environment = {**os.environ, **{name: str(file) for name, file in files.items()}}
    ended = subprocess.run(
        [sys.executable, "-m", "worker", process],
        env={**environment, "SLUICE_QUEUE_LEASE_S": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "lease_s" in ended.stderr.lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
