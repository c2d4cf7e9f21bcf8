"""The end of a worker process, tested in a process of its own."""

import subprocess
import sys


def test_a_hanging_redis_does_not_delay_the_end_of_the_process() -> None:
    """Predictions that could not be queued again wait for their leases to lapse."""
    program = """
import threading
from sluice.prediction import Submission
from tests.fakes.ledger import MemoryLedger
from worker.predictions_process import _end_after
from worker.watchdog import LeaseWatchdog

class Hanging(MemoryLedger):
    def requeue(self, claim, delay_s, *, retry=True, logs=""):
        print("hangs", flush=True)
        threading.Event().wait()

ledger = Hanging()
watchdog = LeaseWatchdog(ledger, lease_s=30)
for name in "abcd":
    ledger.create(name, Submission(model="codes"))
    watchdog.hold(ledger.claim(name, 100))
_end_after(0, watchdog)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "hangs\n"), ended.stderr
