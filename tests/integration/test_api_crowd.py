"""An api with more connections, long polls and streams than it can take."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import redis
from PIL import Image

from tests.support.api_process import ApiProcess, api_process
from tests.support.image_files import save
from tests.support.servers import redis_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = save(Image.new("RGB", (64, 48)), "JPEG")
RAW = {"Content-Type": "image/jpeg"}
FILES = 256
"""Half of them for connections."""
CROWD = 2000
PATIENCE_S = 180


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    with redis_server(tmp_path) as url:
        yield {"SLUICE_REDIS_URL": url, "SLUICE_BLOBS_URL": url}


@contextlib.contextmanager
def _idle(api: ApiProcess, count: int) -> Iterator[None]:
    """Open `count` connections that send nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=30))
        yield


def _submit(api: ApiProcess) -> httpx.Response:
    return httpx.post(f"{api.url}/v1/predictions", content=IMAGE, headers=RAW, timeout=30)


def test_above_the_bound_requests_get_503_and_probes_are_answered(
    env: dict[str, str], tmp_path: Path
) -> None:
    with api_process(tmp_path / "api", env, files=FILES) as api:
        with _idle(api, FILES // 2):
            until(lambda: "warnings" in httpx.get(f"{api.url}/readyz", timeout=30).json())
            refused = _submit(api)
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) > 0
            assert httpx.get(f"{api.url}/healthz", timeout=30).status_code == 200
            metrics = httpx.get(f"{api.url}/metrics", timeout=30).text
            assert f"sluice_http_connections {FILES // 2 + 1}.0" in metrics
        until(lambda: _submit(api).status_code == 202)
        assert "warnings" not in httpx.get(f"{api.url}/readyz", timeout=30).json()


def test_more_connections_than_files_do_no_harm_and_make_one_line_in_the_log(
    env: dict[str, str], tmp_path: Path
) -> None:
    with api_process(tmp_path / "api", env, files=FILES) as api:
        for _ in range(3):
            with _idle(api, 2 * FILES):
                assert httpx.get(f"{api.url}/healthz", timeout=30).status_code == 200
                assert _submit(api).status_code == 503
        until(lambda: _submit(api).status_code == 202)
        assert len(list(Path(f"/proc/{api.process.pid}/fd").iterdir())) < FILES // 2
        lines = api.log.read_text().splitlines()
        assert len([line for line in lines if "WARNING api.connection" in line]) == 1
        assert not [line for line in lines if "Traceback" in line]


def test_above_the_bound_long_polls_do_not_wait_and_streams_get_503(
    env: dict[str, str], tmp_path: Path
) -> None:
    env |= {"SLUICE_API_MAX_FOLLOWERS": "3"}
    with (
        api_process(tmp_path / "api", env) as api,
        ThreadPoolExecutor(3) as threads,
        httpx.Client(base_url=api.url, timeout=PATIENCE_S) as http,
    ):
        path = f"/v1/predictions/{_submit(api).json()['id']}"
        waiting = [threads.submit(http.get, f"{path}?wait=50") for _ in range(3)]
        until(lambda: "sluice_http_followers 3.0" in http.get("/metrics").text)
        assert http.get(f"{path}?wait=50", timeout=20).json()["status"] == "starting"
        refused = http.get(f"{path}/stream", timeout=20)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        waited = http.post("/v1/predictions?wait=50", content=IMAGE, headers=RAW, timeout=20)
        assert waited.status_code == 202
        http.post(f"{path}/cancel")
        assert {answer.result(20).json()["status"] for answer in waiting} == {"canceled"}
        assert http.get(f"{path}/stream").text.endswith('{"reason": "canceled"}\n\n')


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4 * CROWD,
    reason=f"this machine lets a process open fewer than {4 * CROWD} files",
)
def test_thousands_of_long_polls_and_streams_leave_the_api_its_work(
    env: dict[str, str], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with api_process(tmp_path / "api", env) as api:
            asyncio.run(_crowd(api, env["SLUICE_REDIS_URL"]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _crowd(api: ApiProcess, redis_url: str) -> None:
    submitted = await asyncio.to_thread(_submit, api)
    path = f"/v1/predictions/{submitted.json()['id']}"
    answers: Counter[bytes] = Counter()

    async def follow(path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        answers[answer.split()[1] if b"canceled" in answer else answer] += 1

    followers = []
    for number in range(2 * CROWD):
        followed = f"{path}?wait=50" if number % 2 else f"{path}/stream?events=done"
        followers.append(asyncio.create_task(follow(followed)))
        if number % 100 == 99:
            await asyncio.sleep(0.1)
    async with httpx.AsyncClient(base_url=api.url, timeout=PATIENCE_S) as http:
        metrics = ""
        async with asyncio.timeout(PATIENCE_S):
            while f"sluice_http_followers {2 * CROWD}.0" not in metrics:
                metrics = (await http.get("/metrics")).text
        for _ in range(50):
            assert (
                await http.post("/v1/predictions", content=IMAGE, headers=RAW)
            ).status_code == 202
        with redis.Redis.from_url(redis_url) as store:
            assert store.info("clients")["connected_clients"] < 100
        assert len(list(Path(f"/proc/{api.process.pid}/task").iterdir())) < 100
        assert (await http.post(f"{path}/cancel")).status_code == 200
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*followers)
    assert answers == {b"200": 2 * CROWD}
