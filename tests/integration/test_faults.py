"""Faults of the live stack, one kind at a time; every prediction still has its one right end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.client import ServiceError
from sluice.local.supervision import shm
from sluice.local.supervision.state import StateDirectory
from tests.support.client import Client
from tests.support.live import Live
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration

IMAGE = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8))[
    1
].tobytes()


@pytest.fixture
def store(live: Live) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(live.redis) as client:
        yield client


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that the stack reported as its own."""
    os.kill(pid, number)


def _ready(live: Live) -> bool:
    try:
        return httpx.get(f"{live.api}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _all_succeed(client: Client, ids: list[str]) -> None:
    assert [client.wait(name, timeout_s=90)["status"] for name in ids] == ["succeeded"] * len(ids)


def test_predictions_succeed_although_workers_are_killed_under_load(
    live: Live, client: Client
) -> None:
    ids, killed = [], set()
    for round_ in range(4):
        ids += [client.submit(IMAGE)["id"] for _ in range(10)]
        name = f"worker-{round_ % 2 + 1}"
        until(lambda name=name: live.pids().get(name) not in (None, *killed))
        killed.add(live.pids()[name])
        _kill(live.pids()[name])
        time.sleep(0.5)
    _all_succeed(client, ids)
    until(lambda: {"worker-1", "worker-2"} <= set(live.pids()))


def test_predictions_whose_messages_were_lost_are_rung_for_again(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    """The records stay and every message is deleted, while the workers are stopped."""
    with stopped(*live.worker_pids()):
        ids = [client.submit(IMAGE)["id"] for _ in range(10)]
        store.delete("default")
    _all_succeed(client, ids)


def test_superfluous_messages_do_no_harm(live: Live, client: Client, store: "redis.Redis") -> None:
    with stopped(*live.worker_pids()):
        # Each worker waits in Redis for its next message already, and gets one of these.
        ids = [client.submit(IMAGE)["id"] for _ in range(10)]
        messages = store.lrange("default", 0, -1)
        assert messages
        store.rpush("default", *messages * 5)
    _all_succeed(client, ids)
    assert [client.get(name)["metrics"].keys() >= {"predict_time"} for name in ids] == [True] * len(
        ids
    )
    until(lambda: store.llen("default") == 0)


def test_a_full_redis_refuses_submissions_and_loses_none(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    ids: list[str] = []
    before = store.config_get("maxmemory")["maxmemory"]

    def refused() -> bool:
        """Set the bound just above the memory in use; repeated, since buffers come and go."""
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
        until(refused, 30)
    try:
        _all_succeed(client, ids)
    finally:
        store.config_set("maxmemory", before)
    time.sleep(1)
    _all_succeed(client, [client.submit(IMAGE)["id"]])


def test_predictions_succeed_although_triton_is_killed(live: Live, client: Client) -> None:
    """The new Triton knows no region of shared memory; running predictions are tried again."""
    _all_succeed(client, [client.submit(IMAGE)["id"] for _ in range(4)])
    before = live.pids()["triton"]
    _kill(before)
    ids = [client.submit(IMAGE)["id"] for _ in range(10)]
    _all_succeed(client, ids)
    assert live.pids()["triton"] != before
    until(lambda: _ready(live))


def test_predictions_succeed_although_triton_hangs_past_its_deadline(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    with stopped(live.pids()["triton"]):
        ids = [client.submit(IMAGE)["id"] for _ in range(3)]
        until(
            lambda: any(
                int(store.hget(f"{{default}}:prediction:{name}", "retries") or 0) for name in ids
            )
        )
        assert {client.get(name)["status"] for name in ids} <= {"starting", "processing"}
    _all_succeed(client, ids)


def test_predictions_survive_a_killed_redis(live: Live, client: Client) -> None:
    ids = [client.submit(IMAGE)["id"] for _ in range(10)]
    before = live.pids()["redis"]
    _kill(before)
    until(lambda: live.pids().get("redis") not in (before, None))
    until(lambda: _ready(live))
    _all_succeed(client, ids)


def test_a_hanging_redis_is_answered_with_503_within_a_second(live: Live, client: Client) -> None:
    """The api recovers by itself."""
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
    until(lambda: _ready(live))
    _all_succeed(client, [*ids, client.submit(IMAGE)["id"]])


def test_predictions_survive_a_killed_api(live: Live, client: Client) -> None:
    ids = [client.submit(IMAGE)["id"] for _ in range(5)]
    _kill(live.pids()["api"])
    until(lambda: _ready(live))
    _all_succeed(client, ids)


def test_an_api_that_stops_answers_its_long_polls_first(live: Live, client: Client) -> None:
    """A long poll ends with the current status, and not with a broken connection."""
    with (
        stopped(live.pids()["triton"]),
        httpx.Client(base_url=live.api, timeout=60) as http,
        ThreadPoolExecutor() as pool,
    ):
        name = client.submit(IMAGE)["id"]
        http.get("/healthz")  # opens the connection
        waiting = pool.submit(http.get, f"/v1/predictions/{name}?wait=30")
        time.sleep(1)
        before = live.pids()["api"]
        _kill(before, signal.SIGTERM)
        answer = waiting.result(30)
        assert (answer.status_code, answer.json()["completed_at"]) == (200, None)
    until(lambda: live.pids().get("api") not in (before, None))
    until(lambda: _ready(live))
    _all_succeed(client, [name])


def test_queued_and_running_predictions_can_be_canceled(live: Live, client: Client) -> None:
    with stopped(live.pids()["triton"]):
        ids = [client.submit(IMAGE)["id"] for _ in range(8)]
        until(lambda: any(client.get(name)["status"] == "processing" for name in ids))
        before = {name: client.get(name)["status"] for name in ids}
        assert set(before.values()) == {"starting", "processing"}
        for name in ids:
            answer = httpx.post(f"{live.api}/v1/predictions/{name}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    time.sleep(2)  # the running ones end, and their results are refused
    for name in ids:
        assert (client.get(name)["status"], client.get(name)["output"]) == ("canceled", None)
        assert httpx.post(f"{live.api}/v1/predictions/{name}/cancel").status_code == 409


def test_a_prediction_that_kills_its_workers_is_a_dead_letter_and_its_neighbours_succeed(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    """Every process that runs the poison is killed, three times in all."""

    def runs_in() -> int | None:
        owner = store.hget(f"{{default}}:prediction:{poison}", "owner")
        pid = int(owner.decode().split("/")[1]) if owner else None
        return pid if pid in live.pids().values() else None

    triton = live.pids()["triton"]
    _kill(triton, signal.SIGSTOP)  # a running prediction runs on until its worker is killed
    try:
        poison = client.submit(IMAGE, confidence=0.9)["id"]
        neighbours = [client.submit(IMAGE)["id"] for _ in range(3)]
        deaths = 0
        deadline = time.monotonic() + 300
        while not client.get(poison)["completed_at"]:
            assert time.monotonic() < deadline
            if pid := runs_in():
                _kill(pid)
                deaths += runs_in() == pid  # unless the worker had requeued it just before
                until(lambda pid=pid: pid not in live.pids().values())
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
    assert client.get(poison) == ended, "the dead letter itself stays as it was"
    unknown = dead("show", "nobody")
    assert unknown.returncode == 1
    assert "sluice dead list" in unknown.stderr


def test_a_submission_repeated_under_its_id_is_one_prediction(live: Live, client: Client) -> None:
    """A client times out and repeats its submission under the same id."""
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


def test_after_all_faults_no_work_is_left_in_redis_or_shared_memory(
    live: Live, client: Client, store: "redis.Redis"
) -> None:
    with pytest.raises(ServiceError):
        client.get("nobody")
    until(lambda: store.zcard("{default}:live") == 0)
    workers = f"{StateDirectory(live.state).shm_prefix}worker-"
    # The killed workers had made segments that Triton had not opened yet.
    until(lambda: not shm.segments(workers))
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
    # Celery's own keys: its bindings, and the messages that killed workers had received. Celery
    # removes these after its visibility timeout.
    # The secrets of webhooks, which another test may have asked for, live for ever.
    known = (
        b"_kombu",
        b"unacked",
        b"{default}:dead",
        b"{default}:webhook-secrets",
    )
    # Each queue has a mark, by which lost data are noticed.
    endless = [
        key
        for key in store.scan_iter()
        if store.ttl(key) == -1 and not key.startswith(known) and not key.endswith(b"}:mark")
    ]
    assert endless == []
