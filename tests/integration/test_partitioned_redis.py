"""Workers are cut off from Redis for a while, and go on soon after the end."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sluice.prediction import Status
from sluice.settings import RedisAddress
from tests.support.bench import Bench
from tests.support.live import Live
from tests.support.proxied import Proxied

pytestmark = pytest.mark.integration

_CUT_OFF_S = 5.0
_LONG_S = "600"  # longer than the test


@pytest.fixture
def bench(live: Live, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(live, "partitioned", tmp_path)
    yield bench
    with redis.Redis.from_url(live.redis) as client:
        client.delete("partitioned")  # rings for which no worker is left


def test_a_worker_goes_on_after_a_partition_although_its_old_connections_never_end(
    live: Live, bench: Bench
) -> None:
    """The time-out, which is for a slow Redis, plays no part, and no process is replaced."""
    address = RedisAddress.parse(live.redis)
    with Proxied(address.host, address.port) as link:
        settings = {
            "SLUICE_REDIS_URL": f"redis://127.0.0.1:{link.port}/{address.database}",
            "SLUICE_REDIS_WORKER_TIMEOUT_S": _LONG_S,
            "SLUICE_WORKER_STUCK_AFTER_S": _LONG_S,
        }
        with bench.workers(**settings) as processes:

            def run(count: int) -> set[Status]:
                names = [bench.submit() for _ in range(count)]
                bench.until(lambda: all(bench.ledger.get(name).status.terminal for name in names))
                return {bench.ledger.get(name).status for name in names}

            assert run(8) == {Status.SUCCEEDED}
            link.begin_partition()
            time.sleep(_CUT_OFF_S)
            link.end_partition()
            assert run(8) == {Status.SUCCEEDED}
            assert [process.poll() for process in processes] == [None]
            bench.end(processes)
