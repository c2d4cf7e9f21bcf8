"""The file of readiness follows the broker and the breaker."""

from pathlib import Path

from tests.support.waiting import until
from worker.breaker import Breaker
from worker.readiness import Readiness


def test_the_file_is_there_while_the_worker_accepts_work(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    readiness = Readiness(file)
    readiness.reaches_parts(True)
    assert not file.exists(), "the broker is not reached yet"
    readiness.has_broker()
    assert file.exists()
    readiness.end()
    assert not file.exists()
    readiness.reaches_parts(True)
    assert not file.exists(), "the process ends"


def test_an_open_breaker_removes_the_file_until_it_closes(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    readiness = Readiness(file)
    breaker = Breaker(threshold=3, tell=readiness.reaches_parts)
    readiness.has_broker()
    breaker.failed()
    breaker.failed()
    assert file.exists(), "a failure now and then is no outage"
    assert not readiness.lacks_parts
    breaker.failed()
    assert not file.exists()
    assert readiness.lacks_parts
    breaker.failed()
    assert not file.exists()
    breaker.succeeded()
    assert file.exists()
    assert not readiness.lacks_parts


def test_a_failure_is_forgotten_when_there_is_nothing_to_try(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    readiness = Readiness(file, forget_after_s=0.2)
    readiness.has_broker()
    readiness.reaches_parts(False)
    assert not file.exists()
    until(file.exists, 10)


def test_without_a_path_no_file_is_written() -> None:
    readiness = Readiness(None)
    readiness.has_broker()
    readiness.reaches_parts(False)
    readiness.end()
