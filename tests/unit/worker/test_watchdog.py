"""Renewed leases, the sign of life, and the end of a process that hangs."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sluice.errors import LeaseLost, RedisUnavailable
from sluice.prediction import Claim, Status, Submission
from tests.fakes.ledger import MemoryLedger
from tests.support.waiting import until
from worker.watchdog import LeaseWatchdog


def _claim(ledger: MemoryLedger, name: str, lease_s: float = 10) -> Claim:
    ledger.create(name, Submission(model="codes"))
    claim = ledger.claim(f"owner of {name}", lease_s)
    assert claim is not None
    return claim


def test_only_held_leases_are_renewed() -> None:
    now = [1000.0]
    ledger = MemoryLedger(clock=lambda: now[0])
    watchdog = LeaseWatchdog(ledger, lease_s=0.6)
    held, released = (
        watchdog.hold(_claim(ledger, "held", 0.6)),
        watchdog.hold(_claim(ledger, "released", 0.6)),
    )
    watchdog.release(released)
    now[0] += 0.5
    before = held.renewed_at
    watchdog.start()
    until(lambda: held.renewed_at > before)
    now[0] += 0.5
    assert ledger.sweep().requeued == ("released",)
    assert ledger.get("held").status is Status.PROCESSING
    held.check()
    assert watchdog.busy
    watchdog.release(held)
    assert not watchdog.busy
    watchdog.stop()


def test_a_lost_lease_is_noticed() -> None:
    ledger = MemoryLedger()
    watchdog = LeaseWatchdog(ledger, lease_s=0.3)
    hold = watchdog.hold(_claim(ledger, "a"))
    watchdog.start()
    hold.check()
    ledger.cancel("a")
    until(lambda: hold.lost)
    watchdog.stop()
    with pytest.raises(LeaseLost):
        hold.check()


def test_an_outage_loses_no_lease() -> None:
    class Flaky(MemoryLedger):
        away = True

        def renew(self, claim: Claim, lease_s: float) -> None:
            if self.away:
                raise RedisUnavailable("away")
            super().renew(claim, lease_s)

    ledger = Flaky()
    watchdog = LeaseWatchdog(ledger, lease_s=0.3)
    hold = watchdog.hold(_claim(ledger, "a", 100))
    before = hold.renewed_at
    watchdog.start()
    time.sleep(0.5)
    assert hold.renewed_at == before
    assert not hold.lost
    ledger.away = False
    until(lambda: hold.renewed_at > before)
    watchdog.stop()


def test_requeued_predictions_wait_again_with_no_retry_counted() -> None:
    ledger = MemoryLedger()
    watchdog = LeaseWatchdog(ledger, lease_s=10)
    holds = [watchdog.hold(_claim(ledger, name)) for name in "ab"]
    ledger.cancel("b")
    watchdog.requeue_all()
    assert ledger.get("a").status is Status.STARTING
    assert ledger.get("a").retries == 0
    assert ledger.get("b").status is Status.CANCELED
    assert all(hold.lost for hold in holds)


def test_a_prediction_that_hangs_ends_the_process_and_spares_the_others() -> None:
    ledger = MemoryLedger()
    hung = threading.Event()
    watchdog = LeaseWatchdog(ledger, lease_s=300, max_run_s=100, on_hang=hung.set)
    stuck = watchdog.hold(_claim(ledger, "stuck"))
    stuck.since -= 99.5  # an older start
    watchdog.hold(_claim(ledger, "innocent"))
    watchdog.start()
    assert hung.wait(20)
    watchdog.release(stuck)
    watchdog.stop()
    assert ledger.get("innocent").status is Status.STARTING
    assert ledger.get("stuck").status is Status.PROCESSING, "its lease lapses, and that counts"


def test_the_alive_file_is_touched_at_each_beat(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    watchdog = LeaseWatchdog(MemoryLedger(), lease_s=30, alive_file=alive)
    watchdog.start()
    until(alive.exists)
    first = alive.stat().st_mtime_ns
    until(lambda: alive.stat().st_mtime_ns > first)
    watchdog.stop()


def test_c_code_that_holds_the_interpreters_lock_is_ended_too() -> None:
    """An endless regular expression runs in C, and lets no other thread run."""
    program = """
import re, time
from tests.fakes.ledger import MemoryLedger
from worker.watchdog import LeaseWatchdog
beats = []
class Alive:  # touched at each beat
    touch = staticmethod(lambda: beats.append(1))
watchdog = LeaseWatchdog(MemoryLedger(), lease_s=30, silence_s=5.0, alive_file=Alive)
watchdog.start()
while len(beats) < 2:
    time.sleep(0.05)
print("stuck", flush=True)
re.match("(a+)+$", "a" * 60 + "b")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "stuck\n"
    assert ended.returncode == 1
    assert "re.match" in ended.stderr or "Timeout" in ended.stderr


def test_a_hanging_redis_does_not_end_the_process() -> None:
    """Four renewals that time out take longer together than the limit of silence."""
    program = """
import time
from sluice.errors import RedisUnavailable
from sluice.prediction import Submission
from tests.fakes.ledger import MemoryLedger
from worker.watchdog import LeaseWatchdog

class Hanging(MemoryLedger):
    def renew(self, claim, lease_s):
        time.sleep(1)
        raise RedisUnavailable("frozen")

ledger = Hanging()
watchdog = LeaseWatchdog(ledger, lease_s=0.3, silence_s=2.5)
for name in "abcd":
    ledger.create(name, Submission(model="codes"))
    watchdog.hold(ledger.claim(name, 100))
watchdog.start()
time.sleep(5)
print("alive", flush=True)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "alive\n", ended.stderr
