"""Damage done to the live stack, one kind at a time; every prediction still ends once, and rightly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.client.client import Client, ServiceError
from sluice.local.supervision import shm
from sluice.local.supervision.state import StateDirectory
from tests.support.live import Live
from tests.support.servers import stopped

pytestmark = pytest.mark.integration

IMAGE = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8))[
    1
].tobytes()


@pytest.fixture
def store(live: Live) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(live.redis) as client:
        yield client


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Only ever a process that the stack has started, by the id that it told."""
    os.kill(pid, number)


def _ready(live: Live) -> bool:
    try:
        return httpx.get(f"{live.api}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _all_succeed(client: Client, ids: list[str]) -> None:
    assert [client.wait(name, timeout_s=90)["status"] for name in ids] == ["succeeded"] * len(ids)


def test_workers_die_under_load(live: Live, client: Client) -> None:
    ids, killed = [], set()
    for round_ in range(4):
        ids += [client.submit(IMAGE)["id"] for _ in range(10)]
        name = f"worker-{round_ % 2 + 1}"
        _until(lambda name=name: live.pids().get(name) not in (None, *killed))
        killed.add(live.pids()[name])
        _kill(live.pids()[name])
        time.sleep(0.5)
    _all_succeed(client, ids)
    _until(lambda: {"worker-1", "worker-2"} <= set(live.pids()))


def test_lost_messages_are_rung_for(live: Live, client: Client, store: "redis.Redis") -> None:
    """The rows are kept and every message is deleted, while nobody listens."""
    with stopped(*live.worker_pids()):
        ids = [client.submit(IMAGE)["id"] for _ in range(10)]
        store.delete("default")
    _all_succeed(client, ids)


def test_messages_too_many_do_no_harm(live: Live, client: Client, store: "redis.Redis") -> None:
    with stopped(*live.worker_pids()):
        ids = [
            client.submit(IMAGE)["id"] for _ in range(10)
        ]  # each worker has asked for the next message already, and gets it
        messages = store.lrange("default", 0, -1)
        assert messages
        store.rpush("default", *messages * 5)
    _all_succeed(client, ids)
    assert [client.get(name)["metrics"].keys() >= {"predict_time"} for name in ids] == [True] * len(
        ids
    )
    _until(lambda: store.llen("default") == 0)


def test_a_task_longer_than_the_visibility_timeout_runs_once(live: Live, client: Client) -> None:
    """Celery delivers its message again after 2 s; nothing is left to claim then."""
    with stopped(live.pids()["triton"]):
        name = client.submit(IMAGE)["id"]
        _until(lambda: client.get(name)["status"] == "processing")
        time.sleep(4)
    _all_succeed(client, [name])
    with redis.Redis.from_url(live.redis) as store:
        assert store.hget(f"{{default}}:prediction:{name}", "attempts") == b"1"


def test_a_full_redis_refuses_and_loses_nothing(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    ids: list[str] = []
    before = store.config_get("maxmemory")["maxmemory"]

    def refused() -> bool:
        """Buffers come and go in so small a Redis, so that the bound is drawn anew until it is felt."""
        store.config_set("maxmemory", int(store.info("memory")["used_memory"] / 0.92))
        time.sleep(0.6)
        try:
            ids.append(client.submit(IMAGE)["id"])
        except ServiceError as error:
            return (error.status, error.code, "memory" in error.message) == (
                429,
                "queue_full",
                True,
            )
        return False

    with stopped(live.pids()["triton"]):
        ids += [client.submit(IMAGE)["id"] for _ in range(10)]
        _until(refused, 30)
    try:
        _all_succeed(client, ids)
    finally:
        store.config_set("maxmemory", before)
    time.sleep(1)
    _all_succeed(client, [client.submit(IMAGE)["id"]])


def test_triton_dies(live: Live, client: Client) -> None:
    """Regions of shared memory are unknown to the new one; what it had in hand is tried again."""
    _all_succeed(client, [client.submit(IMAGE)["id"] for _ in range(4)])
    before = live.pids()["triton"]
    _kill(before)
    ids = [client.submit(IMAGE)["id"] for _ in range(10)]
    _all_succeed(client, ids)
    assert live.pids()["triton"] != before
    _until(lambda: _ready(live))


def test_triton_hangs_past_its_deadline(live: Live, client: Client, store: "redis.Redis") -> None:
    with stopped(live.pids()["triton"]):
        ids = [client.submit(IMAGE)["id"] for _ in range(3)]
        _until(
            lambda: any(
                int(store.hget(f"{{default}}:prediction:{name}", "retries") or 0) for name in ids
            )
        )
        assert {client.get(name)["status"] for name in ids} <= {"starting", "processing"}
    _all_succeed(client, ids)


def test_redis_dies(live: Live, client: Client) -> None:
    ids = [client.submit(IMAGE)["id"] for _ in range(10)]
    before = live.pids()["redis"]
    _kill(before)
    _until(lambda: live.pids().get("redis") not in (before, None))
    _until(lambda: _ready(live))
    _all_succeed(client, ids)


def test_redis_hangs(live: Live, client: Client) -> None:
    """The api says so within a second, and is back by itself."""
    ids = [client.submit(IMAGE)["id"] for _ in range(5)]
    with stopped(live.pids()["redis"]):
        answer = httpx.post(
            f"{live.api}/v1/predictions",
            content=IMAGE,
            headers={"Content-Type": "image/jpeg"},
            timeout=20,
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "redis" in httpx.get(f"{live.api}/readyz", timeout=20).json()["redis"].lower()
    _until(lambda: _ready(live))
    _all_succeed(client, [*ids, client.submit(IMAGE)["id"]])


def test_the_api_dies(live: Live, client: Client) -> None:
    ids = [client.submit(IMAGE)["id"] for _ in range(5)]
    _kill(live.pids()["api"])
    _until(lambda: _ready(live))
    _all_succeed(client, ids)


def test_an_api_that_is_told_to_stop_answers_who_waits(live: Live, client: Client) -> None:
    """A long poll ends with the status as it is, and not with a connection that breaks."""
    with (
        stopped(live.pids()["triton"]),
        httpx.Client(base_url=live.api, timeout=60) as http,
        ThreadPoolExecutor() as pool,
    ):
        name = client.submit(IMAGE)["id"]
        http.get("/healthz")  # so that the connection is there already
        waiting = pool.submit(http.get, f"/v1/predictions/{name}?wait=30")
        time.sleep(1)
        before = live.pids()["api"]
        _kill(before, signal.SIGTERM)
        answer = waiting.result(30)
        assert (answer.status_code, answer.json()["completed_at"]) == (200, None)
    _until(lambda: live.pids().get("api") not in (before, None))
    _until(lambda: _ready(live))
    _all_succeed(client, [name])


def test_cancel_while_it_waits_and_while_it_runs(live: Live, client: Client) -> None:
    with stopped(live.pids()["triton"]):
        ids = [client.submit(IMAGE)["id"] for _ in range(8)]
        _until(lambda: any(client.get(name)["status"] == "processing" for name in ids))
        before = {name: client.get(name)["status"] for name in ids}
        assert set(before.values()) == {"starting", "processing"}
        for name in ids:
            answer = httpx.post(f"{live.api}/v1/predictions/{name}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    time.sleep(2)  # those that ran come to their end, and are refused
    for name in ids:
        assert (client.get(name)["status"], client.get(name)["output"]) == ("canceled", None)
        assert httpx.post(f"{live.api}/v1/predictions/{name}/cancel").status_code == 409


def test_a_poisonous_prediction_and_its_neighbour(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    """Whatever process runs the poison is killed. It ends as a dead letter after three times, and nobody else does."""

    def runs_in() -> int | None:
        owner = store.hget(f"{{default}}:prediction:{poison}", "owner")
        pid = int(owner.decode().split("/")[1]) if owner else None
        return pid if pid in live.pids().values() else None

    triton = live.pids()["triton"]
    _kill(triton, signal.SIGSTOP)  # so that what runs keeps running until it is killed
    try:
        poison = client.submit(IMAGE, confidence=0.9)["id"]
        neighbours = [client.submit(IMAGE)["id"] for _ in range(3)]
        deaths = 0
        until = time.monotonic() + 300
        while not client.get(poison)["completed_at"]:
            assert time.monotonic() < until
            if pid := runs_in():
                _kill(pid)
                deaths += runs_in() == pid  # not what it had given back a moment before
                _until(lambda pid=pid: pid not in live.pids().values())
            time.sleep(0.05)
    finally:
        _kill(triton, signal.SIGCONT)
    ended = client.get(poison)
    assert (ended["status"], ended["error_code"]) == ("failed", "worker_lost")
    assert deaths == 3
    _all_succeed(client, neighbours)

    environment = {**os.environ, "SLUICE_REDIS_URL": live.redis}

    def dead(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "sluice", "dead", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    assert poison in dead("list").stdout
    assert '"worker_lost"' in dead("show", poison).stdout
    again = dead("requeue", poison)
    assert again.returncode == 0, again.stderr
    _all_succeed(client, [again.stdout.strip()])
    assert client.get(poison) == ended, "its end is final"
    unknown = dead("show", "nobody")
    assert unknown.returncode == 1
    assert "sluice dead list" in unknown.stderr


def test_a_repeated_submission_is_one_prediction(live: Live, client: Client) -> None:
    """A client that times out and comes again with its id, several times at once."""
    url = f"{live.api}/v1/predictions/again-{time.time_ns()}"
    headers = {"Content-Type": "image/jpeg"}
    with stopped(live.pids()["api"]), pytest.raises(httpx.ReadTimeout):
        httpx.put(url, content=IMAGE, headers=headers, timeout=httpx.Timeout(10, read=0.3))
    answers = [httpx.put(url, content=IMAGE, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["created_at"] for answer in answers}) == 1
    assert client.wait(answers[0].json()["id"], timeout_s=60)["status"] == "succeeded"
    assert (
        httpx.put(url, content=IMAGE, headers=headers, params={"confidence": 0.9}).json()["code"]
        == "id_reused"
    )


def test_a_clean_end_leaves_nothing_waiting(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    with pytest.raises(ServiceError):
        client.get("nobody")
    _until(lambda: store.zcard("{default}:live") == 0)
    workers = f"{StateDirectory(live.state).shm_prefix}worker-"
    _until(
        lambda: not shm.segments(workers)
    )  # the killed ones had made some that Triton had not opened yet
    left = [name.decode() for name in store.scan_iter("{default}:*")]
    emptied = (
        "ready",
        "turns",
        "delayed",
        "alone",
        "leases",
        "deadlines",
        "bytes",
        "backlogs",
        "turn",
    )
    assert [name for name in left if name.split(":")[1] in emptied] == []
    # Celery's own: its bindings, and what killed workers had in hand, which it clears away after its visibility timeout.
    known = (b"_kombu", b"unacked", b"{default}:dead")
    endless = [
        key for key in store.scan_iter() if store.ttl(key) == -1 and not key.startswith(known)
    ]
    assert endless == []
