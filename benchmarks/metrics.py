"""The price of metrics, against one round trip to Redis in the same run.

`python -m benchmarks.metrics` needs a redis-server, and nothing else of the stack.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sluice.metrics.attempts import AttemptMetrics
from sluice.metrics.http import HttpMetrics
from sluice.metrics.recorder import Recorder
from sluice.prediction import Priority
from sluice.redisio import connection
from sluice.redisio.statistics import ROUND_TRIPS
from sluice.settings import RedisAddress
from tests.support.servers import redis_server

_ROUNDS, _CALLS = 30, 300
_STAGES = {
    f"{name}_time": 0.004
    for name in ("queue", "fetch", "decode", "letterbox", "inference", "postprocess", "predict")
}


def _per_call_us(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(_CALLS):
        work()
    return (time.perf_counter() - start) / _CALLS * 1e6


def main() -> None:
    """Print the median microseconds, and their shares of a round trip."""
    recorder = Recorder()
    http, attempts = HttpMetrics(recorder), AttemptMetrics(recorder)

    def submission() -> None:
        http.accepted("codes", Priority.NORMAL)
        http.answered("POST", "/v1/predictions", 202, 0.002)
        ROUND_TRIPS.add(seconds=0.001)

    def prediction() -> None:
        attempts.succeeded("codes", _STAGES)
        for _ in range(5):
            ROUND_TRIPS.add(seconds=0.001)

    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        client = connection.connect(RedisAddress.parse(url))
        works = {"round trip": client.ping, "submission": submission, "prediction": prediction}
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(_ROUNDS):  # in turn, so that a busy machine slows all of them
            for name, work in works.items():
                times[name].append(_per_call_us(work))
    trip_us = statistics.median(times["round trip"])
    for name, values in times.items():
        median_us = statistics.median(values)
        print(f"{name:12} {median_us:8.1f} µs  {median_us / trip_us:5.2f} round trips")


if __name__ == "__main__":
    main()
