"""Batches on the live stack: counts that add up, a cancel midway, one event at the end, an api that dies while it takes one in."""

import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.local.stack import Stack, StackConfig
from tests.support.loopback import Handler, serving
from tests.support.servers import stopped

pytestmark = pytest.mark.integration

RANDOM = np.random.default_rng(11)
IDLE_S = 15  # longer than an api takes to be there again
QUICK = {
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
    "SLUICE_QUEUE_BATCH_IDLE_S": str(IDLE_S),
    "SLUICE_QUEUE_LEASE_S": "5",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
}


def _image() -> bytes:
    return cv2.imencode(".jpg", RANDOM.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Stack]:
    config = StackConfig(state=tmp_path_factory.mktemp("batches"), models=models, port=0, env=QUICK)
    with Stack(config) as stack:
        yield stack


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.addresses.api, timeout=70) as client:
        yield client


@pytest.fixture
def store(stack: Stack) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(stack.addresses.redis) as client:
        yield client


def _until(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _ended(http: httpx.Client, batch_id: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while True:
        body: dict[str, Any] = (
            http.get(f"/v1/batches/{batch_id}", params={"wait": 30}).raise_for_status().json()
        )
        if body["completed_at"]:
            return body
        assert time.monotonic() < until, body


def _all(http: httpx.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    found, url = [], f"{batch['urls']['predictions']}?limit=90"
    while url:
        page = http.get(url).raise_for_status().json()
        found += page["results"]
        url = page["next"]
    return found


def test_two_hundred_with_some_bad_ones(stack: Stack, http: httpx.Client) -> None:
    bad = {7: b"text", 100: _image()[:200], 150: b""}
    files = [
        ("image", (f"{number}.jpg", bad.get(number) or (b"" if number in bad else _image())))
        for number in range(200)
    ]

    def hear(handler: Handler) -> None:
        handler.reply()

    with serving(hear) as receiver:
        asked = {
            "webhook": f"http://127.0.0.1:{receiver.port}/hook",
            "confidence": "0.1",
            "metadata": '{"run": 7}',
        }
        with stopped(stack.pids["worker-1"]):
            answer = http.post("/v1/batches", files=files, data=asked)
            assert answer.status_code == 202, answer.text
            batch = answer.json()
            assert [error["index"] for error in batch["errors"]] == sorted(bad)
            assert batch["counts"]["starting"] == sum(batch["counts"].values()) == 197
        until = time.monotonic() + 120
        while not (body := http.get(answer.headers["Location"]).json())["completed_at"]:
            assert sum(body["counts"].values()) == 197, body
            assert body["status"] in ("starting", "processing")
            assert time.monotonic() < until, body
            time.sleep(0.02)
        assert (body["status"], body["counts"]["succeeded"], body["missing"]) == (
            "succeeded",
            197,
            0,
        )
        _until(lambda: receiver.seen)
        found = _all(http, body)
        time.sleep(1)
        assert receiver.seen == ["/hook"], "one event, however many images"
    assert [one["metadata"]["index"] for one in found] == [
        number for number in range(200) if number not in bad
    ]
    assert all(one["status"] == "succeeded" and one["input"]["confidence"] == 0.1 for one in found)
    assert found[-1]["metadata"]["name"] == "199.jpg"
    assert http.post(body["urls"]["cancel"]).status_code == 409
    assert not [
        one
        for one in http.get("/v1/predictions").json()["results"]
        if one["id"].startswith(body["id"])
    ]


def test_a_zip_and_urls(http: httpx.Client, sample: bytes) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/desk.jpg", sample)
        archive.writestr("a/notes.txt", b"text")
    answer = http.post(
        "/v1/batches", content=packed.getvalue(), headers={"Content-Type": "application/zip"}
    )
    (one,) = _all(http, _ended(http, answer.json()["id"]))
    assert one["output"]["predictions"]
    with serving(lambda handler: handler.reply(200, sample)) as server:
        urls = [f"http://127.0.0.1:{server.port}/{number}.jpg" for number in range(3)]
        answer = http.post("/v1/batches", json={"images": [*urls, "http://127.0.0.2/x.jpg"]})
        assert [error["code"] for error in answer.json()["errors"]] == ["address_not_allowed"]
        found = _all(http, _ended(http, answer.json()["id"]))
    assert [len(one["output"]["predictions"]) for one in found] == [
        len(found[0]["output"]["predictions"])
    ] * 3


def test_the_rest_is_canceled_midway(stack: Stack, http: httpx.Client) -> None:
    files = [("image", (f"{number}.jpg", _image())) for number in range(300)]
    worker = stack.pids["worker-1"]
    with stopped(worker):
        batch = http.post("/v1/batches", files=files).json()
    _until(lambda: http.get(batch["urls"]["get"]).json()["counts"]["succeeded"] > 10)
    with stopped(worker):
        answer = http.post(batch["urls"]["cancel"])
    assert answer.status_code == 200
    canceled = answer.json()
    assert canceled["status"] == "canceled"
    assert canceled["counts"]["canceled"] > 0
    assert canceled["counts"]["succeeded"] + canceled["counts"]["canceled"] == 300
    found = _all(http, canceled)
    assert len(found) == 300
    waited = [one for one in found if one["canceled_from"] == "starting"]
    assert waited
    assert all(one["output"] is None for one in found if one["status"] == "canceled")
    time.sleep(1)
    assert http.get(batch["urls"]["get"]).json() == canceled, "the end is final"
    assert http.get("/v1/queue").json()["backlog"] == 0


def _begin(
    http: httpx.Client,
    pool: ThreadPoolExecutor,
    store: "redis.Redis",
    headers: dict[str, str],
    files: Any,
) -> str:
    """The id of a batch that is being taken in, of which some images are in: they wait, as the worker is held."""
    store.delete("{default}:batches")
    begun = threading.Event()

    def post() -> None:
        begun.set()
        with pytest.raises(httpx.TransportError):
            http.post("/v1/batches", files=files, headers=headers)

    pool.submit(post)
    begun.wait()
    found: list[bytes] = []

    def some_are_in() -> bool:
        found[:] = store.zrange("{default}:batches", 0, -1)
        return (
            bool(found)
            and int(store.hget(f"{{default}}:batch:{found[0].decode()}", "starting") or 0) > 20
        )

    _until(some_are_in)
    return found[0].decode()


def test_an_api_that_dies_while_it_takes_one_in(
    stack: Stack, http: httpx.Client, store: "redis.Redis"
) -> None:
    """The batch ends with what is in it; the same call again, in time, brings in the rest."""
    files = [("image", (f"{number}.jpg", _image())) for number in range(400)]
    worker = stack.pids["worker-1"]
    with ThreadPoolExecutor(1) as pool, stopped(worker):
        batch_id = _begin(http, pool, store, {}, files)
        os.kill(stack.pids["api"], signal.SIGKILL)
    _until(lambda: _ready(http))
    ended = _ended(http, batch_id)
    assert ended["status"] == "succeeded"
    assert 20 < ended["counts"]["succeeded"] < 400
    assert ended["counts"]["succeeded"] + ended["missing"] == 400
    assert len(_all(http, ended)) == ended["counts"]["succeeded"]

    key = {"Idempotency-Key": "again"}
    with stopped(worker):  # its keeper too, which would end the batch if the api were long away
        with ThreadPoolExecutor(1) as pool:
            batch_id = _begin(http, pool, store, key, files)
            os.kill(stack.pids["api"], signal.SIGKILL)
        _until(lambda: _ready(http))
        again = http.post("/v1/batches", files=files, headers=key)
        assert again.status_code == 202, again.text
        assert again.json()["id"] == batch_id
    whole = _ended(http, batch_id)
    assert (whole["counts"]["succeeded"], whole["missing"], whole["errors"]) == (400, 0, [])
    assert json.dumps(http.post("/v1/batches", files=files, headers=key).json()) == json.dumps(
        whole
    )
