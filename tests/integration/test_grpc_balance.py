"""Calls to one name are spread over several real Tritons, as over pods of a headless service."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from sluice.errors import TritonUnavailable
from sluice.local.servers import triton as local
from sluice.local.servers import triton_env
from sluice.local.supervision import shm
from sluice.vision.triton.client import Triton
from sluice.vision.triton.errors import ModelReplaced
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NAME = "triton.test"
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
MAX_AGE_MS = 2000  # k8s/base/triton.yaml has 10,000


class Names:
    """A name server on loopback with A records (RFC 1035, 4.1) that a test may change."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(512)
            if not query:
                return
            end, labels = 12, []
            while length := query[end]:
                labels.append(query[end + 1 : end + 1 + length].decode())
                end += 1 + length
            (kind,) = struct.unpack_from("!H", query, end + 1)
            addresses = self.addresses.get(".".join(labels), [])
            records = [
                b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
                for address in addresses
            ]
            answers = records if kind == 1 else []
            header = query[:2] + struct.pack(
                "!HHHHH", 0x8180 if addresses else 0x8183, 1, len(answers), 0, 0
            )
            self._socket.sendto(header + query[12 : end + 5] + b"".join(answers), peer)


class Servers:
    """Tritons with the same ports at different loopback addresses, as pods have them."""

    def __init__(self, directory: Path) -> None:
        self._env = triton_env.ensure()
        self._directory = directory
        self._prefix = f"sluice-balance-{os.getpid()}-"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = local.TritonPorts(*_ports(3))
        local.prepare(directory, self._env)

    def start(self, host: str, models: Path = ROOT / "model_repository") -> None:
        command = local.command(
            self._env, self._directory, models, self.ports, f"{self._prefix}{host}-"
        )
        command = [part.replace("-address=127.0.0.1", f"-address={host}") for part in command]
        command += [
            f"--grpc-max-connection-age={MAX_AGE_MS}",
            "--grpc-max-connection-age-grace=15000",
        ]
        with (self._directory / f"{host}.log").open("wb") as log:
            environment = local.environment(self._env, self._directory, os.environ)
            self._running[host] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: self._answers(host), 60)

    def stop(self, host: str) -> None:
        """Stop a server as Kubernetes stops a pod."""
        process = self._running[host]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        self.kill(host)  # the rest of its process group

    def kill(self, host: str) -> None:
        process = self._running.pop(host)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for host in list(self._running):
            self.kill(host)
        shm.remove(self._prefix)

    def metrics(self, host: str) -> str:
        return httpx.get(f"http://{host}:{self.ports.metrics}/metrics").text

    def inferences(self, host: str) -> int:
        match = re.search(
            r'^nv_inference_request_success\{model="codes",[^}]*\} (\d+)',
            self.metrics(host),
            re.MULTILINE,
        )
        return int(match[1]) if match else 0

    def _answers(self, host: str) -> bool:
        assert self._running[host].poll() is None, (self._directory / f"{host}.log").read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{host}:{self.ports.http}/v2/health/ready").status_code == 200
        return False


def _ports(count: int) -> list[int]:
    """Ports below Linux's ephemeral ones that are free at each of HOSTS."""
    free_ports: list[int] = []
    while len(free_ports) < count:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for host in HOSTS:
                stack.enter_context(socket.create_server((host, port)))
            if port not in free_ports:
                free_ports.append(port)
    return free_ports


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
    """A client with the URL of a worker in a cluster, but with the test's name server."""
    client = Triton(f"dns://127.0.0.1:{names.port}/{NAME}:{servers.ports.grpc}", timeout_s=10)
    yield client
    client.close()


def _infer(triton: Triton) -> None:
    """One inference, as the pipeline makes it."""
    while True:
        model = triton.model("codes")
        try:
            with triton.slot(model) as slot:
                slot.input[...] = np.uint8(128)
                slot.infer()
                return
        except ModelReplaced:
            continue


def _infer_again(triton: Triton) -> bool:
    """An inference, made again where gRPC sent it while the server closed the connection.

    True where that was so: the connection had reached its age, and the server said GOAWAY.
    """
    try:
        _infer(triton)
    except TritonUnavailable as error:
        if "GOAWAY" not in str(error.__cause__):
            raise
        _infer(triton)
        return True
    return False


def test_calls_to_one_name_are_spread_over_its_servers(servers: Servers, triton: Triton) -> None:
    until(lambda: _both(servers, triton), 30)
    before = [servers.inferences(host) for host in HOSTS[:2]]
    for _ in range(40):
        _infer_again(triton)
    spread = [servers.inferences(host) - since for host, since in zip(HOSTS, before, strict=False)]
    assert sum(spread) == 40
    assert min(spread) >= 10


def _both(servers: Servers, triton: Triton) -> bool:
    """True once both are connected: at first all calls go to the server that connected first."""
    _infer_again(triton)
    return all(servers.inferences(host) for host in HOSTS[:2])


def test_triton_serves_the_metric_that_keda_asks_for(servers: Servers) -> None:
    assert 'nv_inference_pending_request_count{model="codes"' in servers.metrics(HOSTS[0])


def test_a_server_that_is_added_gets_its_share_of_calls(
    servers: Servers, names: Names, triton: Triton
) -> None:
    servers.start(HOSTS[2])
    names.addresses[NAME] = list(HOSTS)

    def reached() -> bool:
        _infer_again(triton)
        return servers.inferences(HOSTS[2]) > 0

    until(reached, 60)


def test_a_roll_out_of_another_model_version_loses_no_call(
    servers: Servers, names: Names, triton: Triton, tmp_path: Path
) -> None:
    """A call may meet the end of its connection's age, and succeeds when it is made again."""
    shutil.copytree(ROOT / "model_repository", tmp_path, dirs_exist_ok=True)
    (tmp_path / "codes" / "1").rename(tmp_path / "codes" / "2")
    config = tmp_path / "codes" / "config.pbtxt"
    text = config.read_text()
    assert "versions: [1]" in text
    assert 'string_value: "1"' in text
    config.write_text(
        text.replace("versions: [1]", "versions: [2]").replace(
            'string_value: "1"', 'string_value: "2"'
        )
    )
    repeated = 0

    def calls(host: str) -> int:
        """The number of a few calls that reach this server."""
        nonlocal repeated
        before = servers.inferences(host)
        repeated += sum(_infer_again(triton) for _ in range(12))
        return servers.inferences(host) - before

    for host in HOSTS[:2]:
        names.addresses[NAME].remove(host)
        # Connections end by their age; k8s/base/triton.yaml waits for that in preStop.
        until(lambda host=host: calls(host) == 0, 60)  # type: ignore[misc]
        servers.stop(host)
        servers.start(host, tmp_path)
        names.addresses[NAME].append(host)
        until(lambda host=host: calls(host) > 0, 60)  # type: ignore[misc]
        assert 'nv_inference_request_success{model="codes",version="2"}' in servers.metrics(host)
    assert repeated <= 2


def test_calls_move_away_from_a_server_that_shuts_down(servers: Servers, triton: Triton) -> None:
    """A server that shuts down unloads its models first, and still listens for some seconds."""
    ended = threading.Thread(target=servers.stop, args=[HOSTS[2]])
    ended.start()
    refused = 0
    while ended.is_alive():
        try:
            _infer(triton)
        except TritonUnavailable:
            refused += 1
    ended.join()
    assert refused <= 2, "calls that it refuses go on to the other servers"


def test_calls_move_away_from_a_server_that_is_killed(servers: Servers, triton: Triton) -> None:
    calls, failures = 0, 0

    before = servers.inferences(HOSTS[1])
    servers.kill(HOSTS[0])
    while calls < 60:
        try:
            _infer(triton)
        except TritonUnavailable:
            failures += 1  # a worker requeues such a prediction
        calls += 1
    assert failures <= 2, "only calls on their way to the killed server may fail"
    assert servers.inferences(HOSTS[1]) - before == calls - failures
