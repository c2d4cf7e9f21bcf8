"""Workers with a queue of their own beside the live stack's: they are stopped and cut off."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sluice.prediction import Prediction, Status
from tests.support.bench import Bench
from tests.support.live import Live
from tests.support.proxied import Proxied

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(live: Live, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(live, "bench", tmp_path)
    yield bench
    with redis.Redis.from_url(live.redis) as client:
        client.delete("bench")  # rings for which no worker is left


def test_thirty_stops_under_load_lose_nothing_and_run_nothing_twice(bench: Bench) -> None:
    """The exit status is 0 each time."""
    ids: list[str] = []
    for _ in range(15):
        with bench.workers(2, SLUICE_WORKER_CONCURRENCY="4") as processes:
            # The stop comes once the first prediction has ended, while others run.
            new = [bench.submit() for _ in range(16)]
            ids += new
            bench.until(lambda new=new: bench.ledger.get(new[0]).status.terminal)
            bench.end(processes)
        assert [name for name in ids if bench.ledger.get(name).status is Status.PROCESSING] == []
    with bench.workers() as processes:
        bench.until(lambda: bench.ledger.backlog() == 0)
        bench.end(processes)
    ended: list[Prediction] = [bench.ledger.get(name) for name in ids]
    assert {prediction.status for prediction in ended} == {Status.SUCCEEDED}
    assert {prediction.attempts for prediction in ended} == {1}


def test_a_prediction_longer_than_the_grace_is_requeued_and_not_counted_as_a_retry(
    live: Live, bench: Bench
) -> None:
    name = bench.submit()
    triton = live.pids()["triton"]
    os.kill(triton, signal.SIGSTOP)
    try:
        with bench.workers(SLUICE_WORKER_GRACE_S="1") as processes:
            bench.until(lambda: bench.ledger.get(name).status is Status.PROCESSING)
            bench.end(processes)
        requeued = bench.ledger.get(name)
        assert (requeued.status, requeued.attempts, requeued.retries) == (
            Status.STARTING,
            1,
            0,
        )
    finally:
        os.kill(triton, signal.SIGCONT)
    with bench.workers() as processes:
        bench.until(lambda: bench.ledger.get(name).status.terminal)
        bench.end(processes)
    assert bench.ledger.get(name).status is Status.SUCCEEDED


def test_a_worker_recovers_from_half_open_connections_by_its_time_outs(
    live: Live, bench: Bench
) -> None:
    """No packet tells the worker that its connections are dead."""
    redis_port = int(live.redis.removesuffix("/0").rpartition(":")[2])
    with Proxied("127.0.0.1", redis_port) as proxied:
        settings = {
            "SLUICE_REDIS_URL": f"redis://127.0.0.1:{proxied.port}/0",
            "SLUICE_REDIS_WORKER_TIMEOUT_S": "3",
            "SLUICE_QUEUE_LEASE_S": "6",
        }
        settings |= {"SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5", "SLUICE_BLOBS_URL": live.redis}
        with bench.workers(**settings) as processes:
            names = [bench.submit()]
            bench.until(lambda: bench.ledger.get(names[0]).status.terminal)
            for _ in range(3):
                proxied.silence()
                names += [bench.submit() for _ in range(3)]
                bench.until(lambda: bench.ledger.backlog() == 0)
            bench.end(processes)
    assert {bench.ledger.get(name).status for name in names} == {Status.SUCCEEDED}
