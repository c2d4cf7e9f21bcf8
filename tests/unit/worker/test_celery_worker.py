"""Celery's worker, in a process of its own."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_worker_starts_and_ends_without_a_line_and_without_celerys_program(name: str) -> None:
    """A line that no formatter wrote would be no JSON. Celery warns of the user root."""
    program = f"""
import json, signal, sys
from celery import Celery, signals
from worker.celery_worker import CeleryWorker

app = Celery("sluice", broker="memory://")
signals.setup_logging.connect(lambda **_: None, weak=False)
ends = []
signals.worker_shutting_down.connect(lambda how, **_: ends.append(how), weak=False)
signals.worker_ready.connect(lambda **_: signal.raise_signal(signal.{name}), weak=False)
worker = CeleryWorker(app, threads=3)
worker.start()
heavy = [module for module in ("celery.bin", "prompt_toolkit", "pygments") if module in sys.modules]
print(json.dumps([ends, worker.concurrency, type(worker.consumer).__name__, heavy]))
"""
    ended = subprocess.run(
        [sys.executable, "-Wignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == [["Warm"], 3, "DoorbellConsumer", []]
    assert ended.returncode == 0
