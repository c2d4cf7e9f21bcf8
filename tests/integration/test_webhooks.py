"""Webhooks on a live stack, against a receiver that misbehaves.

`SLUICE_STORM=2000` sets the number of predictions, instead of 150. `SLUICE_STORM_LOG=storm.jsonl`
appends the results to a file.
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
from collections.abc import Callable
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
from sluice.local.stack import Stack
from sluice.prediction import Submission
from sluice.settings import QueueSettings, WebhooksSettings
from tests.support.bad_receiver import BadReceiver
from tests.support.loopback import serving
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("SLUICE_STORM", "150"))
JPEG = {"Content-Type": "image/jpeg"}
IMAGE = cv2.imencode(".jpg", np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8))[
    1
].tobytes()
# Pauses and leases last seconds instead of minutes and hours; nothing else is changed.
STACK_ENV = {
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


def _patiently(http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """The first answer that is neither a fault nor "too busy"; Redis may be down for a while."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = http.request(method, path, **options)
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "no such answer within a minute"
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
        prediction = answer.json()
        while prediction["completed_at"] is None:
            prediction = _patiently(
                http, "GET", f"/v1/predictions/{name}", params={"wait": 10}
            ).json()
        assert prediction["status"] == "succeeded", prediction

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, ids))


def _deliveries(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    answer = _patiently(http, "GET", f"/v1/predictions/{name}/deliveries")
    deliveries: list[dict[str, Any]] = answer.json()["results"]
    return deliveries


def _storm(
    stack: Stack,
    http: httpx.Client,
    prefix: str,
    seed: int,
    harmed: Callable[[], object] = lambda: True,
) -> dict[str, Any]:
    """Submit thirds of the predictions while the receiver is bad, down, and bad again.

    Checks every promise at the end, and returns counts. The receiver stays down until `harmed`
    holds, on a machine of any speed.
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
        until(harmed, 120)
        receiver.up()
        _submit_and_wait(http, names[COUNT * 2 // 3 :], receiver.url)
        submitted_s = time.monotonic() - started
        with redis.Redis.from_url(stack.addresses.redis) as store:
            until(lambda: _open(store) == 0, 240)
        drained_s = time.monotonic() - started
        assert trap.connections == 0, "a redirect was followed"
    with ThreadPoolExecutor(8) as pool:
        records = {
            entry["id"]: entry
            for deliveries in pool.map(lambda name: _deliveries(http, name), names)
            for entry in deliveries
        }
    taken = {message.id for message in receiver.messages if message.taken}
    assert set(records) == {
        f"{name}_{event}" for name in names for event in ("start", "completed")
    }, "every event is on record"
    for name, record in records.items():
        assert record["status"] in ("delivered", "superseded", "dead"), record
        assert (record["status"] == "delivered") <= (name in taken), (
            f"{name} is recorded as delivered and was not"
        )
        assert record["status"] != "superseded" or name.endswith("_start")
    assert all(message.genuine for message in receiver.messages), "a signature is wrong"
    bodies, events, order = defaultdict(set), defaultdict(set), defaultdict(list)
    for message in receiver.messages:
        payload = json.loads(message.body)
        bodies[message.id].add(message.body)
        events[payload["type"], payload["data"]["id"]].add(message.id)
        order[payload["data"]["id"]].append(payload["type"])
    assert all(len(sent) == 1 for sent in bodies.values()), "two attempts had different bodies"
    assert all(len(ids) == 1 for ids in events.values()), "an event came under two ids"
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
        "reactions": receiver.did,
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


def test_a_bad_receiver_gets_every_delivery(stack: Stack, http: httpx.Client) -> None:
    seen = _storm(stack, http, "bad", 1)
    _write_down(seen)
    reactions = {"taken", "500", "close", "half", "hang", "302"}
    assert seen["reactions"].keys() == reactions or COUNT < 500


def test_every_delivery_arrives_although_senders_and_redis_are_killed(
    stack: Stack, http: httpx.Client
) -> None:
    calm = threading.Event()
    killed: Counter[str] = Counter()
    drawn = random.Random(3)

    def kill() -> None:
        """Kill each sender some time after it is ready, and Redis with the first two."""
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


def test_a_sender_that_stops_requeues_hanging_deliveries_and_counts_no_attempt(
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
            until(lambda: len(receiver.seen) == 2)
            sender.send_signal(signal.SIGTERM)
            assert sender.wait(timeout=20) == 0
        over.set()
    for name in ("a", "b"):
        (delivery,) = deliveries.deliveries_for("prediction", name)
        assert (delivery.status, delivery.attempts, delivery.log) == ("waiting", 0, ())
