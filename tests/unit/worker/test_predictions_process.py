"""The end of a worker process, in one of its own."""

import subprocess
import sys


def test_a_redis_that_hangs_does_not_hold_a_process_that_was_told_to_end() -> None:
    """Whoever told it kills it in the end: what could not be given back waits for its lease to lapse."""
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
