"""An api that gets SIGTERM cuts off no request: on kept connections, long polls and streams."""

import asyncio
import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.api_process import ApiProcess, api_process
from tests.support.image_files import save
from tests.support.servers import redis_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = save(Image.new("RGB", (64, 48)), "JPEG")
CLIENTS = 40
ENDS = 6
FOLLOWERS = 20
LATE_S = 0.5
"""Balancers learn so late that a process ends."""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    with redis_server(tmp_path) as url:
        yield {"SLUICE_REDIS_URL": url, "SLUICE_BLOBS_URL": url}


@dataclass
class Clients:
    """Each has one connection, keeps it as long as the server does, and never pauses."""

    ports: list[int]
    """The processes to which a new connection may go."""
    answered: int = 0
    faults: list[str] = field(default_factory=list)
    stopping: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        while not self.stopping:
            port = self.ports[number % len(self.ports)]
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                self.faults.append("refused")
                continue
            kept = True
            while kept and not self.stopping:
                kept = await self._ask(reader, writer)
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request. False where the connection is not kept after the answer."""
        for head, body in (("GET /healthz", b""), ("POST /v1/predictions", IMAGE)):
            try:
                writer.write(
                    f"{head} HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
            except (OSError, EOFError) as error:
                self.faults.append(f"{head}: {error!r}")
                return False
            if answer.split()[1] not in (b"200", b"202"):
                self.faults.append(f"{head}: {answer!r}")
            self.answered += 1
            if b"connection: close" in answer:
                return False
        return True


def test_no_request_is_cut_off_by_an_api_that_ends(env: dict[str, str], tmp_path: Path) -> None:
    env |= {"SLUICE_QUEUE_MAX_BACKLOG": "1000000"}
    with contextlib.ExitStack() as stack:
        apis = [
            stack.enter_context(api_process(tmp_path / f"api-{number}", env)) for number in range(2)
        ]
        clients = Clients([api.port for api in apis])
        running = threading.Thread(target=lambda: asyncio.run(clients.run()))
        running.start()
        try:
            for number in range(ENDS):
                before = clients.answered
                until(lambda before=before: clients.answered > before + 10 * CLIENTS)
                ending = apis[number % 2]
                ending.process.send_signal(signal.SIGTERM)
                threading.Event().wait(LATE_S)
                clients.ports.remove(ending.port)
                ending.process.wait(60)
                log = tmp_path / f"api-{number % 2}"
                again = stack.enter_context(api_process(log, env, port=ending.port))
                apis[number % 2] = again
                clients.ports.append(again.port)
        finally:
            clients.stopping = True
            running.join()
    assert clients.faults == []
    assert clients.answered > 10 * CLIENTS * ENDS


def test_long_polls_and_streams_end_with_the_present_state(
    env: dict[str, str], tmp_path: Path
) -> None:
    with (
        api_process(tmp_path / "api", env) as api,
        ThreadPoolExecutor(2 * FOLLOWERS) as threads,
        httpx.Client(base_url=api.url, timeout=90) as http,
    ):
        prediction = http.post("/v1/predictions", files={"image": IMAGE}).json()
        path = f"/v1/predictions/{prediction['id']}"
        polls = [threads.submit(http.get, f"{path}?wait=50") for _ in range(FOLLOWERS)]
        streams = [threads.submit(http.get, f"{path}/stream") for _ in range(FOLLOWERS)]
        until(lambda: _open_connections(api) >= 2 * FOLLOWERS)
        api.process.send_signal(signal.SIGTERM)
        answers = [poll.result(20) for poll in polls]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["status"] for answer in answers} == {"starting"}
        for stream in streams:
            events = stream.result(20).text  # an error where the stream has no end
            assert json.loads(events.partition("data: ")[2].partition("\n")[0])["status"]
            assert "\nretry: 500\n" in events
        assert api.process.wait(20) in (0, -signal.SIGTERM)


def test_an_api_that_ends_takes_new_connections_for_a_while_and_says_so(
    env: dict[str, str], tmp_path: Path
) -> None:
    with api_process(tmp_path / "api", env | {"SLUICE_API_LINGER_S": "30"}) as api:
        api.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{api.url}/healthz").headers.get("connection") == "close")
        answer = httpx.post(f"{api.url}/v1/predictions?wait=50", files={"image": IMAGE}, timeout=20)
        assert answer.status_code == 202
        ready = httpx.get(f"{api.url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["status"]) == (503, "ending")


def _open_connections(api: ApiProcess) -> int:
    """The connections that clients have to the process."""
    port = f":{api.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ours = [line.split() for line in lines]
    return sum(1 for fields in ours if fields[1].endswith(port) and fields[3] == "01")
