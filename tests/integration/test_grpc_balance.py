"""Calls to one name are spread over several real Tritons, as over pods of a headless service."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.errors import TritonUnavailable
from sluice.vision.triton.client import Triton
from tests.support.name_server import Names
from tests.support.paths import ROOT
from tests.support.tritons import HOSTS, Servers, infer_again
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NAME = "triton.test"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("tritons"))
    try:
        for host in HOSTS[:2]:
            servers.start(host)
        yield servers
    finally:
        servers.close()


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    names = Names()
    names.addresses[NAME] = list(HOSTS[:2])
    yield names
    names.close()


@pytest.fixture(scope="module")
def triton(servers: Servers, names: Names) -> Iterator[Triton]:
    """A client with the URL of a worker in a cluster, but with the test's name server.

    One client lives through all tests, as a worker's does: it remembers which servers failed.
    """
    url = f"dns://127.0.0.1:{names.port}/{NAME}:{servers.ports.grpc}"
    client = Triton(url, timeout_s=10)
    yield client
    client.close()


def test_calls_to_one_name_are_spread_over_its_servers(servers: Servers, triton: Triton) -> None:
    until(lambda: _both(servers, triton), 30)
    before = [servers.inferences(host) for host in HOSTS[:2]]
    for _ in range(40):
        infer_again(triton)
    spread = [servers.inferences(host) - since for host, since in zip(HOSTS, before, strict=False)]
    assert sum(spread) == 40
    assert min(spread) >= 10


def _both(servers: Servers, triton: Triton) -> bool:
    """True once both are connected: at first all calls go to the server that connected first."""
    infer_again(triton)
    return all(servers.inferences(host) for host in HOSTS[:2])


def test_triton_serves_the_metric_that_keda_asks_for(servers: Servers) -> None:
    assert 'nv_inference_pending_request_count{model="codes"' in servers.metrics(HOSTS[0])


def test_a_server_that_is_added_gets_its_share_of_calls(
    servers: Servers, names: Names, triton: Triton
) -> None:
    servers.start(HOSTS[2])
    names.addresses[NAME] = list(HOSTS)

    def reached() -> bool:
        infer_again(triton)
        return servers.inferences(HOSTS[2]) > 0

    until(reached, 60)


def test_a_roll_out_of_another_model_version_loses_no_call(
    servers: Servers, names: Names, triton: Triton, tmp_path: Path
) -> None:
    """A call may meet the end of its connection's age, and succeeds when it is made again.

    A server without the version that is asked for may get no calls. Once it is among the last
    ones, all calls go to it.
    """
    _with_version_2(tmp_path)
    made = repeated = 0

    def calls(host: str) -> int:
        """The number of a few calls that reach this server."""
        nonlocal made, repeated
        before = servers.inferences(host)
        made += 12
        repeated += sum(infer_again(triton) for _ in range(12))
        return servers.inferences(host) - before

    for host in HOSTS:
        names.addresses[NAME].remove(host)
        # Connections end by their age; k8s/base/triton.yaml waits for that in preStop.
        until(lambda host=host: calls(host) == 0, 60, every_s=0.5)  # type: ignore[misc]
        servers.stop(host)
        servers.start(host, tmp_path)
        names.addresses[NAME].append(host)
        for _ in range(5):
            calls(host)
    for host in HOSTS:
        until(lambda host=host: calls(host) > 0, 60, every_s=0.5)  # type: ignore[misc]
        assert 'nv_inference_request_success{model="codes",version="2"}' in servers.metrics(host)
    assert repeated <= 2 + made // 50


def _with_version_2(directory: Path) -> None:
    """Make a model repository whose model `codes` has version 2 alone."""
    shutil.copytree(ROOT / "model_repository", directory, dirs_exist_ok=True)
    (directory / "codes" / "1").rename(directory / "codes" / "2")
    config = directory / "codes" / "config.pbtxt"
    text = config.read_text()
    assert "versions: [1]" in text
    assert 'string_value: "1"' in text
    config.write_text(
        text.replace("versions: [1]", "versions: [2]").replace(
            'string_value: "1"', 'string_value: "2"'
        )
    )


def test_calls_move_away_from_a_server_that_shuts_down(servers: Servers, triton: Triton) -> None:
    """A server that shuts down unloads its models first, and still listens for some seconds."""
    ended = threading.Thread(target=servers.stop, args=[HOSTS[2]])
    ended.start()
    refused: list[str] = []
    while ended.is_alive():
        try:
            infer_again(triton)
        except TritonUnavailable as error:
            refused.append(f"{error}: {error.__cause__}")
    ended.join()
    assert len(refused) <= 2, f"calls that it refuses go on to the other servers: {refused}"


def test_calls_move_away_from_a_server_that_is_killed(servers: Servers, triton: Triton) -> None:
    calls = failures = repeated = 0

    before = servers.inferences(HOSTS[1])
    servers.kill(HOSTS[0])
    while calls < 60:
        try:
            repeated += infer_again(triton)
        except TritonUnavailable:
            failures += 1  # a worker requeues such a prediction
        calls += 1
    assert failures <= 2, "only calls on their way to the killed server may fail"
    # The server may have run a call that was made again.
    assert calls - failures <= servers.inferences(HOSTS[1]) - before <= calls - failures + repeated
