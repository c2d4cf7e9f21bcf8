"""What a crash left is put right, and the bell is rung for what nobody was told of."""

import time

from sluice.errors import RedisUnavailable
from sluice.prediction import Parameters, Status
from tests.fakes import CountingDoorbell, MemoryLedger
from worker.keeper import Keeper, keep


def test_it_rings_for_what_no_message_speaks_of() -> None:
    ledger, doorbell = MemoryLedger(), CountingDoorbell(rings=1)
    for name in "abc":
        ledger.create(name, "codes", Parameters())
    keep(ledger, doorbell, max_lapses=3)
    assert doorbell.waiting() == 3
    keep(ledger, doorbell, max_lapses=3)
    assert doorbell.waiting() == 3, "who has been told is not told again"


def test_an_idle_service_is_not_asked_for_its_messages() -> None:
    class Silent(CountingDoorbell):
        def waiting(self) -> int:
            raise AssertionError

    keep(MemoryLedger(), Silent(), max_lapses=3)


def test_lapsed_leases_are_queued_again_and_rung_for() -> None:
    ledger, doorbell = MemoryLedger(), CountingDoorbell()
    ledger.create("a", "codes", Parameters())
    ledger.claim("w", -1)
    keep(ledger, doorbell, max_lapses=2)
    assert ledger.get("a").status is Status.STARTING
    assert doorbell.rings == 1
    ledger.claim("w", -1)
    keep(ledger, doorbell, max_lapses=2)
    assert ledger.get("a").status is Status.FAILED


def test_a_round_that_fails_is_not_the_last() -> None:
    ledger, doorbell = MemoryLedger(), CountingDoorbell(errors=[RedisUnavailable("away"), ValueError("a fault")])
    ledger.create("a", "codes", Parameters())
    keeper = Keeper(ledger, doorbell, max_lapses=3, interval_s=0.02)
    keeper.start()
    until = time.monotonic() + 20
    while not doorbell.rings and time.monotonic() < until:
        time.sleep(0.01)
    keeper.stop()
    assert doorbell.rings == 1
