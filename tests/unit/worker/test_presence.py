"""The watch over the workers: what a look leads to, and what it survives."""

import logging

import pytest

from sluice.errors import RedisUnavailable
from sluice.ledger.presence import Look
from sluice.prediction import Submission
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.presence import Attendance, MemoryPresence
from tests.support.waiting import until
from worker.presence import PresenceWatch


class Scripted:
    """Gives these answers in turn, and raises those that are errors."""

    def __init__(self, *answers: Look | Exception) -> None:
        self._answers = list(answers)

    def look(self) -> Look:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        pass


def test_a_dead_workers_predictions_are_swept_at_once() -> None:
    now = [1000.0]
    ledger = MemoryLedger(QueueSettings(gone_after_s=4), lambda: now[0])
    attendance = Attendance(ledger)
    dead = MemoryPresence(attendance, "host/1/dead")
    dead.look()
    ledger.create("a", Submission(model="codes"))
    ledger.claim("host/1/dead/x", 30)
    dead.close()
    requeued: list[str] = []
    watch = PresenceWatch(
        MemoryPresence(attendance, "host/1/next"), lambda: requeued.extend(ledger.sweep().requeued)
    )
    now[0] += 3
    watch.look()
    assert requeued == []
    now[0] += 1.1
    watch.look()
    assert requeued == ["a"]


def test_without_an_ended_lease_nothing_is_swept() -> None:
    def sweep() -> None:
        raise AssertionError

    PresenceWatch(Scripted(Look(), Look(gone=("idle",))), sweep).look()


def test_a_refusal_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = PresenceWatch(Scripted(Look(refusal="no INFO"), Look(refusal="no INFO")), list)
    with caplog.at_level(logging.WARNING):
        watch.look()
        watch.look()
    assert caplog.text.count("no INFO") == 1


def test_the_watch_goes_on_after_an_outage_and_a_fault() -> None:
    swept: list[int] = []
    answers = Scripted(RedisUnavailable("away"), ValueError("a fault"), Look(("w",), 1), Look())
    watch = PresenceWatch(answers, lambda: swept.append(1), interval_s=0.01)
    watch.start()
    until(lambda: swept)
    watch.stop()
