"""Batches on a live stack: their counts, a cancel midway, their one event, and an api that dies."""

import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.local.stack import Stack
from tests.support.loopback import Handler, serving
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RANDOM = np.random.default_rng(11)
IDLE_S = 15  # longer than the restart of an api takes
STACK_ENV = {
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
    "SLUICE_QUEUE_BATCH_IDLE_S": str(IDLE_S),
    "SLUICE_QUEUE_LEASE_S": "5",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
}


def _image() -> bytes:
    return cv2.imencode(".jpg", RANDOM.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes()


@pytest.fixture
def store(stack: Stack) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(stack.addresses.redis) as client:
        yield client


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _ended(http: httpx.Client, batch_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        body: dict[str, Any] = (
            http.get(f"/v1/batches/{batch_id}", params={"wait": 30}).raise_for_status().json()
        )
        if body["completed_at"]:
            return body
        assert time.monotonic() < deadline, body


def _all(http: httpx.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    predictions, url = [], f"{batch['urls']['predictions']}?limit=90"
    while url:
        page = http.get(url).raise_for_status().json()
        predictions += page["results"]
        url = page["next"]
    return predictions


def test_a_batch_of_two_hundred_with_bad_images_counts_and_reports_them_all(
    stack: Stack, http: httpx.Client
) -> None:
    bad = {7: b"text", 100: _image()[:200], 150: b""}
    files = [
        ("image", (f"{number}.jpg", bad.get(number) or (b"" if number in bad else _image())))
        for number in range(200)
    ]

    def hear(handler: Handler) -> None:
        handler.reply()

    with serving(hear) as receiver:
        fields = {
            "webhook": f"http://127.0.0.1:{receiver.port}/hook",
            "confidence": "0.1",
            "metadata": '{"run": 7}',
        }
        with stopped(stack.pids["worker-1"]):
            answer = http.post("/v1/batches", files=files, data=fields)
            assert answer.status_code == 202, answer.text
            batch = answer.json()
            assert [error["index"] for error in batch["errors"]] == sorted(bad)
            assert batch["counts"]["starting"] == sum(batch["counts"].values()) == 197
        deadline = time.monotonic() + 120
        while not (body := http.get(answer.headers["Location"]).json())["completed_at"]:
            assert sum(body["counts"].values()) == 197, body
            assert body["status"] in ("starting", "processing")
            assert time.monotonic() < deadline, body
            time.sleep(0.02)
        assert (body["status"], body["counts"]["succeeded"], body["missing"]) == (
            "succeeded",
            197,
            0,
        )
        until(lambda: receiver.seen)
        predictions = _all(http, body)
        time.sleep(1)
        assert receiver.seen == ["/hook"], "one event for the whole batch"
    assert [prediction["metadata"]["index"] for prediction in predictions] == [
        number for number in range(200) if number not in bad
    ]
    assert all(
        prediction["status"] == "succeeded" and prediction["input"]["confidence"] == 0.1
        for prediction in predictions
    )
    assert predictions[-1]["metadata"]["name"] == "199.jpg"
    assert http.post(body["urls"]["cancel"]).status_code == 409
    assert not [
        prediction
        for prediction in http.get("/v1/predictions").json()["results"]
        if prediction["id"].startswith(body["id"])
    ]


def test_a_batch_may_be_a_zip_file_or_a_list_of_urls(http: httpx.Client, sample: bytes) -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/desk.jpg", sample)
        archive.writestr("a/notes.txt", b"text")
    answer = http.post(
        "/v1/batches", content=packed.getvalue(), headers={"Content-Type": "application/zip"}
    )
    (prediction,) = _all(http, _ended(http, answer.json()["id"]))
    assert prediction["output"]["predictions"]
    with serving(lambda handler: handler.reply(200, sample)) as server:
        urls = [f"http://127.0.0.1:{server.port}/{number}.jpg" for number in range(3)]
        answer = http.post("/v1/batches", json={"images": [*urls, "http://127.0.0.2/x.jpg"]})
        assert [error["code"] for error in answer.json()["errors"]] == ["address_not_allowed"]
        predictions = _all(http, _ended(http, answer.json()["id"]))
    assert [len(prediction["output"]["predictions"]) for prediction in predictions] == [
        len(predictions[0]["output"]["predictions"])
    ] * 3


def test_canceling_a_running_batch_cancels_the_rest_of_it(stack: Stack, http: httpx.Client) -> None:
    files = [("image", (f"{number}.jpg", _image())) for number in range(300)]
    worker = stack.pids["worker-1"]
    with stopped(worker):
        batch = http.post("/v1/batches", files=files).json()
    until(lambda: http.get(batch["urls"]["get"]).json()["counts"]["succeeded"] > 10)
    with stopped(worker):
        answer = http.post(batch["urls"]["cancel"])
    assert answer.status_code == 200
    canceled = answer.json()
    assert canceled["status"] == "canceled"
    assert canceled["counts"]["canceled"] > 0
    assert canceled["counts"]["succeeded"] + canceled["counts"]["canceled"] == 300
    predictions = _all(http, canceled)
    assert len(predictions) == 300
    waited = [prediction for prediction in predictions if prediction["canceled_from"] == "starting"]
    assert waited
    assert all(
        prediction["output"] is None
        for prediction in predictions
        if prediction["status"] == "canceled"
    )
    time.sleep(1)
    assert http.get(batch["urls"]["get"]).json() == canceled, "a terminal status is final"
    assert http.get("/v1/queue").json()["backlog"] == 0


def _begin(
    http: httpx.Client,
    pool: ThreadPoolExecutor,
    store: "redis.Redis",
    headers: dict[str, str],
    files: Any,
) -> str:
    """The id of a batch during its upload, with some images accepted.

    The worker is stopped, so these images stay queued.
    """
    store.delete("{default}:batches")
    begun = threading.Event()

    def post() -> None:
        begun.set()
        with pytest.raises(httpx.TransportError):
            http.post("/v1/batches", files=files, headers=headers)

    pool.submit(post)
    begun.wait()
    ids: list[bytes] = []

    def some_are_in() -> bool:
        ids[:] = store.zrange("{default}:batches", 0, -1)
        return (
            bool(ids)
            and int(store.hget(f"{{default}}:batch:{ids[0].decode()}", "starting") or 0) > 20
        )

    until(some_are_in)
    return ids[0].decode()


def test_a_batch_whose_api_dies_during_the_upload_ends_and_can_be_continued(
    stack: Stack, http: httpx.Client, store: "redis.Redis"
) -> None:
    """The batch ends with the images it has; the same call in time adds the rest."""
    files = [("image", (f"{number}.jpg", _image())) for number in range(400)]
    worker = stack.pids["worker-1"]
    with ThreadPoolExecutor(1) as pool, stopped(worker):
        batch_id = _begin(http, pool, store, {}, files)
        os.kill(stack.pids["api"], signal.SIGKILL)
    until(lambda: _ready(http))
    ended = _ended(http, batch_id)
    assert ended["status"] == "succeeded"
    assert 20 < ended["counts"]["succeeded"] < 400
    assert ended["counts"]["succeeded"] + ended["missing"] == 400
    assert len(_all(http, ended)) == ended["counts"]["succeeded"]

    key = {"Idempotency-Key": "again"}
    with stopped(worker):  # its keeper would seal the batch while the api is down
        with ThreadPoolExecutor(1) as pool:
            batch_id = _begin(http, pool, store, key, files)
            os.kill(stack.pids["api"], signal.SIGKILL)
        until(lambda: _ready(http))
        again = http.post("/v1/batches", files=files, headers=key)
        assert again.status_code == 202, again.text
        assert again.json()["id"] == batch_id
    whole = _ended(http, batch_id)
    assert (whole["counts"]["succeeded"], whole["missing"], whole["errors"]) == (400, 0, [])
    assert json.dumps(http.post("/v1/batches", files=files, headers=key).json()) == json.dumps(
        whole
    )
