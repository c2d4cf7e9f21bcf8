"""Connections to Triton that are dropped without a word, as by a NAT or a load balancer."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import redis

from sluice.errors import DeadlineExceeded, TritonUnavailable
from sluice.prediction import Status
from sluice.vision.triton.client import Triton
from tests.support.bench import Bench
from tests.support.live import Live
from tests.support.proxied import Proxied
from tests.support.waiting import until

pytestmark = pytest.mark.integration

MANY_S = 600.0  # longer than any test


@pytest.fixture
def link(live: Live) -> Iterator[Proxied]:
    """The way to Triton. The port of the proxy is on this host too, so regions can be shared."""
    host, _, port = live.triton_grpc.rpartition(":")
    with Proxied(host, int(port)) as link:
        yield link


@contextmanager
def _client(link: Proxied, **options: float) -> Iterator[Triton]:
    client = Triton(f"127.0.0.1:{link.port}", **{"timeout_s": 30.0, **options})  # type: ignore[arg-type]
    try:
        yield client
    finally:
        client.close()


def _infer(triton: Triton, level: int = 128) -> list[npt.NDArray[np.float32]]:
    with triton.slot(triton.model("codes")) as slot:
        slot.input[...] = np.uint8(level)
        return [array.copy() for array in slot.infer().values()]


def _same(first: list[npt.NDArray[np.float32]], second: list[npt.NDArray[np.float32]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_connection_dropped_while_idle_costs_no_inference(
    link: Proxied, shared_memory: bool
) -> None:
    """The question for the model's configuration comes first, and is asked again."""
    with _client(link, silence_s=2.0, models_ttl_s=0.0, shared_memory=shared_memory) as triton:
        before = _infer(triton)
        for _ in range(2):
            link.silence()
            assert _same(_infer(triton), before)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_an_inference_that_meets_the_drop_fails_and_later_ones_succeed(
    link: Proxied, shared_memory: bool
) -> None:
    """The deadline is 30 s, but the connection is ended after 2 s of silence."""
    with _client(link, silence_s=2.0, models_ttl_s=MANY_S, shared_memory=shared_memory) as triton:
        before = _infer(triton)
        link.silence()
        with pytest.raises(TritonUnavailable):
            _infer(triton)
        with suppress(TritonUnavailable):  # at once again, it may meet the dead connection too
            _infer(triton)
        assert _same(_infer(triton), before)


def test_without_pings_the_deadline_of_one_call_ends_the_channel(link: Proxied) -> None:
    """Something on the way may answer the pings itself."""
    with _client(link, timeout_s=2.0, silence_s=MANY_S, models_ttl_s=MANY_S) as triton:
        before = _infer(triton)
        link.silence()
        with pytest.raises(DeadlineExceeded):
            _infer(triton)
        assert _same(_infer(triton), before)


def test_a_drop_under_load_fails_only_the_calls_under_way(link: Proxied) -> None:
    threads = 4
    dropped, ended = threading.Event(), threading.Event()
    with _client(link, silence_s=2.0, models_ttl_s=MANY_S) as triton:
        expected = {level: _infer(triton, level) for level in range(threads)}

        def run(level: int) -> tuple[int, int]:
            """The number of failures, and of successes after them."""
            failures = successes = 0
            while not ended.is_set():
                try:
                    outputs = _infer(triton, level)
                except TritonUnavailable:
                    assert dropped.is_set()
                    failures += 1
                else:
                    assert _same(outputs, expected[level]), "the result of another thread"
                    successes += failures > 0
                    if successes > 20:
                        break
            return failures, successes

        with ThreadPoolExecutor(threads) as pool:
            results = [pool.submit(run, level) for level in range(threads)]
            try:
                until(lambda: link.proxy.accepted >= 1)
                dropped.set()
                link.silence()
                until(lambda: any(result.done() for result in results), 60)
            finally:
                ended.set()
        failures = [result.result()[0] for result in results]
    assert sum(failures) >= 1
    # A call that is made again within milliseconds may meet the dead connection once more.
    assert max(failures) <= 2
    assert link.proxy.accepted == 2, "one new connection"


@pytest.fixture
def bench(live: Live, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(live, "dropped", tmp_path)
    yield bench
    with redis.Redis.from_url(live.redis) as client:
        client.delete("dropped")  # rings for which no worker is left


def test_predictions_that_meet_a_drop_end_well_after_one_more_attempt(
    link: Proxied, bench: Bench
) -> None:
    settings = {
        "SLUICE_TRITON_GRPC_URL": f"127.0.0.1:{link.port}",
        "SLUICE_TRITON_TIMEOUT_S": "10",
        "SLUICE_TRITON_SILENCE_S": "2",
        "SLUICE_TRITON_MODELS_TTL_S": "0.001",  # any pause is an idle time
    }
    with bench.workers(**settings) as processes:

        def run(count: int) -> list[str]:
            names = [bench.submit() for _ in range(count)]
            bench.until(lambda: bench.ledger.get(names[0]).status.terminal)
            return names

        run(1)
        link.silence()
        (idle,) = run(1)
        loaded = run(16)
        link.silence()
        loaded += run(8)
        bench.until(lambda: bench.ledger.backlog() == 0)
        bench.end(processes)
    assert (bench.ledger.get(idle).status, bench.ledger.get(idle).attempts) == (Status.SUCCEEDED, 1)
    assert {bench.ledger.get(name).status for name in loaded} == {Status.SUCCEEDED}
    assert max(bench.ledger.get(name).attempts for name in loaded) <= 2
