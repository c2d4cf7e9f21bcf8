"""The api while Redis is lost, emptied or silent: true answers at once, and work soon after."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from PIL import Image

from tests.support.api_process import ApiProcess, api_process
from tests.support.image_files import save
from tests.support.link import Link
from tests.support.servers import redis_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = save(Image.new("RGB", (64, 48)), "JPEG")
CHANNEL = "{default}:events"
SOON_S = 15
"""A bound on machines of any speed; the figures are in docs/decisions/0052-followers.md."""


@dataclass
class World:
    """An api whose Redis may be another one from time to time."""

    api: ApiProcess
    link: Link
    http: httpx.Client
    threads: ThreadPoolExecutor

    @property
    def store(self) -> "redis.Redis":
        return redis.Redis(*self.link.target)

    def submit(self) -> httpx.Response:
        return self.http.post("/v1/predictions", content=IMAGE, headers=RAW)

    def is_up(self) -> bool:
        return self.submit().status_code == 202

    def follow(self, path: str) -> "Future[httpx.Response]":
        """A request that lasts; returns once the api has it."""
        return self.threads.submit(self.http.get, path)

    def subscribed(self) -> bool:
        with self.store as store:
            return dict(store.pubsub_numsub(CHANNEL))[CHANNEL.encode()] > 0


RAW = {"Content-Type": "image/jpeg"}


@contextmanager
def _redis(folder: Path) -> Iterator[tuple[str, int]]:
    folder.mkdir()
    with redis_server(folder) as url:
        there = urlsplit(url)
        assert there.hostname
        assert there.port
        yield there.hostname, there.port


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """The Redis that runs; closing it ends that one."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(tmp_path: Path, servers: ExitStack) -> Iterator[World]:
    target = servers.enter_context(_redis(tmp_path / "redis-1"))
    with Link(target).running() as link:
        url = f"redis://127.0.0.1:{link.port}/0"
        env = {"SLUICE_REDIS_URL": url, "SLUICE_BLOBS_URL": url}
        with (
            api_process(tmp_path / "api", env) as api,
            httpx.Client(base_url=api.url, timeout=60) as http,
            ThreadPoolExecutor(40) as threads,
        ):
            world = World(api, link, http, threads)
            until(world.subscribed)
            yield world


def _events(stream: httpx.Response) -> list[str]:
    return [line[7:] for line in stream.text.splitlines() if line.startswith("event: ")]


def test_followers_learn_that_redis_has_lost_its_data(world: World) -> None:
    path = f"/v1/predictions/{world.submit().json()['id']}"
    poll, stream = world.follow(f"{path}?wait=50"), world.follow(f"{path}/stream")
    time.sleep(1)  # both read the record first
    with world.store as store:
        store.flushall()
    assert poll.result(SOON_S).status_code == 404
    assert _events(stream.result(SOON_S))[-2:] == ["error", "done"]
    assert '"code": "not_found"' in stream.result().text
    assert world.submit().status_code == 202


def test_after_a_restart_without_data_the_api_works_and_hears_events(
    world: World, servers: ExitStack, tmp_path: Path
) -> None:
    path = f"/v1/predictions/{world.submit().json()['id']}"
    poll, stream = world.follow(f"{path}?wait=50"), world.follow(f"{path}/stream")
    time.sleep(1)
    servers.close()
    # The followers' answers depend on which of them reads before Redis is back.
    assert poll.result(SOON_S).status_code in (404, 503)
    assert stream.result(SOON_S).text.endswith("\n\n")
    world.link.target = servers.enter_context(_redis(tmp_path / "redis-2"))
    until(world.is_up, SOON_S)
    assert world.http.get(path).status_code == 404
    until(world.subscribed, SOON_S)
    accepted = world.submit().json()["id"]
    waiting = world.follow(f"/v1/predictions/{accepted}?wait=50")
    assert world.http.post(f"/v1/predictions/{accepted}/cancel").status_code == 200
    assert waiting.result(SOON_S).json()["status"] == "canceled"


def test_scripts_that_are_flushed_under_load_do_no_harm(world: World) -> None:
    """On the fast path's shared connection, and on the pools of all other calls."""
    faults: list[str] = []
    answered = 0
    stopping = threading.Event()

    def submit() -> None:
        nonlocal answered
        while not stopping.is_set():
            accepted = world.submit()
            path = f"/v1/predictions/{accepted.json().get('id')}"
            answers = [accepted, world.http.get(path), world.http.post(f"{path}/cancel")]
            faults.extend(answer.text for answer in answers if not answer.is_success)
            answered += len(answers)

    clients = [world.threads.submit(submit) for _ in range(8)]
    with world.store as store:
        for _ in range(30):
            time.sleep(0.1)
            store.script_flush("SYNC")
    stopping.set()
    for client in clients:
        client.result(SOON_S)
    assert faults == []
    assert answered > 100


def test_a_redis_that_goes_silent_is_answered_with_503_until_it_returns(world: World) -> None:
    for _ in range(3):
        until(world.is_up, SOON_S)
        path = f"/v1/predictions/{world.submit().json()['id']}"
        with world.link.swallowing():
            for _ in range(3):
                answers = [
                    world.threads.submit(world.submit),
                    world.threads.submit(world.http.get, path),
                    world.threads.submit(world.http.post, f"{path}/cancel"),
                ]
                assert [answer.result(SOON_S).status_code for answer in answers] == [503] * 3
        until(world.is_up, SOON_S)
        waiting = world.follow(f"{path}?wait=50")
        time.sleep(0.2)
        until(lambda path=path: world.http.post(f"{path}/cancel").status_code == 200, SOON_S)
        assert waiting.result(SOON_S).json()["status"] == "canceled"
    assert "Traceback" not in world.api.log.read_text()
