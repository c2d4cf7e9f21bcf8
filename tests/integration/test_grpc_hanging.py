"""One of several Tritons hangs, and the others go on."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from sluice.errors import DeadlineExceeded, TritonUnavailable
from sluice.vision.triton.client import Triton
from tests.support.name_server import Names
from tests.support.tritons import HOSTS, Servers, infer, infer_again
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NAME = "triton.test"
THREADS = 4


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("tritons"))
    try:
        for host in HOSTS:
            servers.start(host)
        yield servers
    finally:
        servers.close()


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    names.addresses[NAME] = list(HOSTS)
    yield names
    names.close()


@pytest.fixture
def triton(servers: Servers, names: Names) -> Iterator[Triton]:
    client = Triton(
        f"dns://127.0.0.1:{names.port}/{NAME}:{servers.ports.grpc}",
        timeout_s=3,
        silence_s=1.5,
        models_ttl_s=600,
    )
    until(lambda: _reaches_all(servers, client), 30)
    yield client
    client.close()


def _reaches_all(servers: Servers, triton: Triton) -> bool:
    before = [servers.inferences(host) for host in HOSTS]
    for _ in range(6):
        infer_again(triton)
    return all(servers.inferences(host) > count for host, count in zip(HOSTS, before, strict=True))


def test_a_slow_inference_is_no_silence(servers: Servers, names: Names) -> None:
    """Triton answers the pings meanwhile, and does not find them too many."""
    url = f"dns://127.0.0.1:{names.port}/{NAME}:{servers.ports.grpc}"
    triton = Triton(url, timeout_s=30, silence_s=1)
    with ExitStack() as stack:
        for host in HOSTS:
            stack.enter_context(servers.hanging(host))
        with ThreadPoolExecutor(1) as pool:
            inference = pool.submit(infer, triton)
            time.sleep(8)
            assert not inference.done()
            stack.close()
            inference.result(30)
    triton.close()


def test_a_stopped_server_fails_only_the_calls_under_way(servers: Servers, triton: Triton) -> None:
    ended = threading.Event()

    def run() -> tuple[int, int]:
        """The number of calls that succeed, and of those that fail."""
        succeeded = failed = 0
        while not ended.is_set():
            try:
                infer_again(triton)
                succeeded += 1
            except (TritonUnavailable, DeadlineExceeded):
                failed += 1
        return succeeded, failed

    with ThreadPoolExecutor(THREADS) as pool, servers.stopped(HOSTS[1]):
        runs = [pool.submit(run) for _ in range(THREADS)]
        time.sleep(15)
        ended.set()
        results = [run.result() for run in runs]
    # A call that is made again within milliseconds may meet the dead connection once more.
    assert max(failed for _, failed in results) <= 2
    assert min(succeeded for succeeded, _ in results) >= 10
    until(lambda: _reaches_all(servers, triton), 60)


def _succeed(triton: Triton, count: int) -> bool:
    """True if so many calls succeed in a row."""
    try:
        for _ in range(count):
            infer(triton)
    except (DeadlineExceeded, TritonUnavailable):
        return False
    return True


def test_a_server_that_hangs_while_it_answers_pings_gets_no_calls_for_a_while(
    servers: Servers, triton: Triton
) -> None:
    with servers.hanging(HOSTS[1]):
        assert not _succeed(triton, 6)
        until(lambda: _succeed(triton, 30), 60)


def test_a_server_that_got_no_calls_gets_them_when_it_is_the_only_one(
    servers: Servers, names: Names, triton: Triton
) -> None:
    """After a roll-out: the new server lacked the version that was asked for."""
    with servers.hanging(HOSTS[1]):
        until(lambda: _succeed(triton, 30), 60)
    names.addresses[NAME] = [HOSTS[1]]
    before = servers.inferences(HOSTS[1])

    def reached() -> bool:
        infer_again(triton)
        return servers.inferences(HOSTS[1]) > before

    until(reached, 60)
