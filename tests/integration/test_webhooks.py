"""Webhooks on the live stack, against a receiver that has a bad day.

`SLUICE_STORM=2000 SLUICE_STORM_LOG=storm.jsonl pytest tests/integration/test_webhooks.py` has as many predictions, rather than 150,
and writes down what was seen.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.local.stack import Stack, StackConfig
from sluice.prediction import Submission
from sluice.settings import QueueSettings, WebhooksSettings
from tests.support.bad_receiver import BadReceiver
from tests.support.loopback import serving
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("SLUICE_STORM", "150"))
JPEG = {"Content-Type": "image/jpeg"}
IMAGE = cv2.imencode(".jpg", np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8))[
    1
].tobytes()
# What takes minutes and hours takes seconds here; nothing else is changed.
QUICK = {
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
    "SLUICE_WEBHOOKS_SCHEDULE_S": "0.2,0.5,1,1,2,2,3,3,5,5,5,5",
    "SLUICE_WEBHOOKS_TIMEOUT_S": "1.5",
    "SLUICE_WEBHOOKS_LEASE_S": "4",
    "SLUICE_WEBHOOKS_FIRST_PAUSE_S": "0.2",
    "SLUICE_WEBHOOKS_LONGEST_PAUSE_S": "1",
    "SLUICE_WEBHOOKS_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_QUEUE_LEASE_S": "5",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Stack]:
    config = StackConfig(
        state=tmp_path_factory.mktemp("webhooks"), models=models, port=0, env=QUICK
    )
    with Stack(config) as stack:
        yield stack


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.addresses.api, timeout=20) as client:
        yield client


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def _patiently(http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer, once there is one; Redis may be away for a while."""
    until = time.monotonic() + 60
    while True:
        try:
            answer = http.request(method, path, **options)
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, "no answer for too long"
        time.sleep(0.1)


def _submit_and_wait(http: httpx.Client, ids: list[str], url: str, **params: str) -> None:
    def one(name: str) -> None:
        answer = _patiently(
            http,
            "PUT",
            f"/v1/predictions/{name}",
            content=IMAGE,
            headers=JPEG,
            params={"webhook": url, **params},
        )
        assert answer.status_code == 202, answer.text
        while (
            found := _patiently(http, "GET", f"/v1/predictions/{name}", params={"wait": 10}).json()
        )["completed_at"] is None:
            pass
        assert found["status"] == "succeeded", found

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, ids))


def _deliveries(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _patiently(
        http, "GET", f"/v1/predictions/{name}/deliveries"
    ).json()["results"]
    return found


def _storm(
    stack: Stack,
    http: httpx.Client,
    prefix: str,
    seed: int,
    harmed: Callable[[], object] = lambda: True,
) -> dict[str, Any]:
    """A third of the predictions while the receiver is bad, a third while it is down, and a third while it is bad again; then
    every promise. It is not over before it is `harmed`, however fast this machine is. Returns what was seen.
    """
    secret = http.get("/v1/webhooks/default/secret").json()["key"]
    names = [f"{prefix}-{number}" for number in range(COUNT)]
    started = time.monotonic()
    with (
        serving() as trap,
        BadReceiver(secret, f"http://127.0.0.1:{trap.port}/inside", seed) as receiver,
    ):
        _submit_and_wait(http, names[: COUNT // 3], receiver.url)
        receiver.down()
        _submit_and_wait(http, names[COUNT // 3 : COUNT * 2 // 3], receiver.url)
        _until(harmed, 120)
        receiver.up()
        _submit_and_wait(http, names[COUNT * 2 // 3 :], receiver.url)
        submitted_s = time.monotonic() - started
        with redis.Redis.from_url(stack.addresses.redis) as store:
            _until(lambda: _open(store) == 0, 240)
        drained_s = time.monotonic() - started
        assert trap.connections == 0, "a redirect was followed"
    with ThreadPoolExecutor(8) as pool:
        records = {
            entry["id"]: entry
            for found in pool.map(lambda name: _deliveries(http, name), names)
            for entry in found
        }
    taken = {message.id for message in receiver.messages if message.taken}
    assert set(records) == {
        f"{name}_{event}" for name in names for event in ("start", "completed")
    }, "every event is on record"
    for name, record in records.items():
        assert record["status"] in ("delivered", "superseded", "dead"), record
        assert (record["status"] == "delivered") <= (name in taken), (
            f"{name} is said to be delivered and was not"
        )
        assert record["status"] != "superseded" or name.endswith("_start")
    assert all(message.genuine for message in receiver.messages), "a signature is wrong"
    bodies, events, order = defaultdict(set), defaultdict(set), defaultdict(list)
    for message in receiver.messages:
        payload = json.loads(message.body)
        bodies[message.id].add(message.body)
        events[payload["type"], payload["data"]["id"]].add(message.id)
        order[payload["data"]["id"]].append(payload["type"])
    assert all(len(found) == 1 for found in bodies.values()), "a message was not the same each time"
    assert all(len(found) == 1 for found in events.values()), "an event came under two ids"
    for name, seen in order.items():
        ends = [place for place, kind in enumerate(seen) if kind == "prediction.completed"]
        assert not ends or "prediction.start" not in seen[ends[0] :], (
            f"{name} started after its end"
        )
    counts = Counter(record["status"] for record in records.values())
    repeated = len([message for message in receiver.messages if message.taken]) - len(taken)
    return {
        "predictions": COUNT,
        "statuses": dict(counts),
        "requests": len(receiver.messages),
        "deeds": receiver.did,
        "taken twice or more": repeated,
        "submitted_s": round(submitted_s, 1),
        "drained_s": round(drained_s, 1),
    }


def _open(store: "redis.Redis") -> int:
    try:
        return int(store.zcard("{default}:deliveries-open"))
    except redis.exceptions.RedisError:
        return -1


def _write_down(seen: dict[str, Any]) -> None:
    if path := os.environ.get("SLUICE_STORM_LOG"):
        with Path(path).open("a") as log:
            log.write(json.dumps(seen) + "\n")


def test_a_bad_receiver_loses_nothing(stack: Stack, http: httpx.Client) -> None:
    seen = _storm(stack, http, "bad", 1)
    _write_down(seen)
    assert seen["deeds"].keys() == {"taken", "500", "close", "half", "hang", "302"} or COUNT < 500


def test_senders_and_redis_die_and_nothing_is_lost(stack: Stack, http: httpx.Client) -> None:
    calm = threading.Event()
    killed: Counter[str] = Counter()
    drawn = random.Random(3)

    def kill() -> None:
        """Each sender some time after it was ready, and Redis along with the first two."""
        last = None
        while not calm.wait(0.05) and killed["webhooks"] < max(4, COUNT // 100):
            pid = stack.pids.get("webhooks")
            if pid in (None, last) or not (stack.state.folder("run") / "webhooks.ready").exists():
                continue
            calm.wait(drawn.uniform(0.3, 3))
            last = pid
            if stack.pids.get("webhooks") != pid:
                continue
            os.kill(pid, signal.SIGKILL)
            killed["webhooks"] += 1
            if killed["redis"] < 2 and (victim := stack.pids.get("redis")):
                os.kill(victim, signal.SIGKILL)
                killed["redis"] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        seen = _storm(stack, http, "killed", 2, lambda: killed["redis"] == 2)
    finally:
        calm.set()
        killer.join()
    _write_down(seen | {"killed": dict(killed)})
    assert killed["redis"] == 2


def test_a_sender_that_is_told_to_stop_gives_back_what_hangs(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    deliveries = RedisDeliveries(redis_client, "default", WebhooksSettings())
    settings = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
        "SLUICE_WEBHOOKS_GRACE_S": "0.3",
    }
    over = threading.Event()
    with serving(lambda handler: over.wait(30) or None) as receiver:
        for name in ("a", "b"):
            ledger.create(
                name,
                Submission(
                    model="codes",
                    webhook=f"http://127.0.0.1:{receiver.port}/",
                    base_url="http://api",
                ),
            )
            ledger.cancel(name)
        command = [sys.executable, "-m", "worker", "webhooks"]
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.DEVNULL
        ) as sender:
            _until(lambda: len(receiver.seen) == 2)
            sender.send_signal(signal.SIGTERM)
            assert sender.wait(timeout=20) == 0
        over.set()
    for name in ("a", "b"):
        (found,) = deliveries.deliveries_for("prediction", name)
        assert (found.status, found.attempts, found.log) == ("waiting", 0, ())
