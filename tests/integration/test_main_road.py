"""One image from submit to result, on the live stack."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import redis

from sluice.client import ServiceError
from sluice.local.supervision import shm
from sluice.vision.letterbox import Letterbox
from sluice.vision.triton.client import Triton
from tests.integration.conftest import GOLDEN_LAYOUTS
from tests.support.client import Client
from tests.support.live import Live
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
KEYS = {"image", "predictions"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_shipped_model_finds_something_in_every_sample(client: Client, path: Path) -> None:
    prediction = client.wait(client.submit(path)["id"], timeout_s=60)
    assert prediction["status"] == "succeeded"
    assert prediction["output"]["predictions"]
    height, width = cv2.imdecode(
        np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR
    ).shape[:2]  # of the upright image
    assert prediction["output"]["image"] == {"width": width, "height": height}


def test_the_three_forms_of_a_submission_give_the_same_result(
    live: Live, client: Client, sample: bytes
) -> None:
    url = f"{live.api}/v1/predictions"
    uri = "data:image/jpeg;base64," + base64.b64encode(sample).decode()
    answers = [
        httpx.post(
            url,
            json={
                "version": "codes",
                "input": {"image": uri, "confidence": 0.3, "classes": ["qr_code", 1]},
            },
        ),
        httpx.post(
            url,
            files={"image": sample},
            data={"model": "codes", "confidence": "0.3", "classes": ["qr_code", "1"]},
        ),
        httpx.post(
            f"{url}?model=codes&confidence=0.3&classes=qr_code&classes=1",
            content=sample,
            headers={"Content-Type": "image/jpeg"},
        ),
    ]
    outputs = []
    for answer in answers:
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert body["status"] == "starting"
        assert answer.headers["Location"] == body["urls"]["get"] == f"{url}/{body['id']}"
        assert int(answer.headers["Retry-After"]) >= 1
        assert body["input"]["confidence"] == 0.3
        ended = client.wait(body["id"], timeout_s=60)
        assert ended["input"] == body["input"]
        outputs.append([{**entry, "detection_id": ""} for entry in ended["output"]["predictions"]])
    assert outputs[0] == outputs[1] == outputs[2]
    assert {entry["class"] for entry in outputs[0]} <= {"qr_code", "barcode"}


def test_a_result_has_times_metrics_and_detections(client: Client, sample: bytes) -> None:
    prediction = client.wait(client.submit(sample)["id"], timeout_s=60)
    assert prediction["error"] is None
    assert prediction["created_at"] <= prediction["started_at"] <= prediction["completed_at"]
    assert set(prediction["output"]) == KEYS
    for entry in prediction["output"]["predictions"]:
        assert entry["class"] == ["qr_code", "barcode", "marker"][entry["class_id"]]
        assert 0.25 < entry["confidence"] <= 1
        assert entry["x"] - entry["width"] / 2 >= -0.01
    metrics = prediction["metrics"]
    stages = ("fetch", "decode", "letterbox", "inference", "postprocess")
    assert sum(metrics[f"{stage}_time"] for stage in stages) <= metrics["predict_time"]
    assert metrics["queue_time"] >= 0


def test_a_long_poll_returns_at_the_predictions_end_and_not_before(
    live: Live, sample: bytes
) -> None:
    """An event wakes the long poll, before its next read of the record after 2 s."""
    body = httpx.post(
        f"{live.api}/v1/predictions", content=sample, headers={"Content-Type": "image/jpeg"}
    ).json()
    answer = httpx.get(body["urls"]["get"], params={"wait": 30}, timeout=40)
    assert answer.json()["status"] == "succeeded"
    assert "Retry-After" not in answer.headers


def test_a_prediction_with_visualize_has_an_annotated_image(client: Client, sample: bytes) -> None:
    prediction = client.wait(client.submit(sample, visualize=True)["id"], timeout_s=60)
    drawn = cv2.imdecode(
        np.frombuffer(client.annotated(prediction["id"]), np.uint8), cv2.IMREAD_COLOR
    )
    plain = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == plain.shape
    entry = prediction["output"]["predictions"][0]
    x, y = round(entry["x"] - entry["width"] / 2), round(entry["y"])  # the middle of the left edge
    around = np.s_[max(0, y - 3) : y + 3, max(0, x - 3) : x + 4]
    assert np.abs(drawn[around].astype(int) - plain[around]).max() > 40


def test_a_prediction_without_visualize_has_no_annotated_image(
    client: Client, sample: bytes
) -> None:
    prediction = client.wait(client.submit(sample)["id"], timeout_s=60)
    assert "annotate_time" not in prediction["metrics"]
    assert "image" not in prediction["urls"]
    with pytest.raises(ServiceError, match="visualize") as caught:
        client.annotated(prediction["id"])
    assert caught.value.status == 404


def test_health_readiness_metrics_and_documentation_are_served(live: Live) -> None:
    assert httpx.get(f"{live.api}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{live.api}/readyz").json() == {
        "status": "ok",
        "redis": "ok",
        "blobs": "ok",
        "triton": "ok",
    }
    assert httpx.get(f"{live.api}/docs").status_code == 200
    paths = httpx.get(f"{live.api}/openapi.json").json()["paths"]
    assert {"/v1/predictions", "/v1/predictions/{id}", "/v1/predictions/{id}/image"} <= set(paths)


def test_after_its_end_only_the_predictions_record_is_left(
    live: Live, client: Client, sample: bytes
) -> None:
    prediction = client.wait(client.submit(sample)["id"], timeout_s=60)
    with redis.Redis.from_url(live.redis) as store:
        until = time.monotonic() + 60
        while time.monotonic() < until and list(store.scan_iter(f"blob:{prediction['id']}/*")):
            time.sleep(0.05)
        keys = {key.decode() for key in store.scan_iter(f"*{prediction['id']}*")}
        assert keys == {f"{{default}}:{name}:{prediction['id']}" for name in ("prediction", "gone")}
        assert all(store.ttl(key) > 0 for key in keys)
        assert store.zcard("{default}:live") == 0


def test_inference_over_shared_memory_and_over_bytes_agree(live: Live, sample: bytes) -> None:
    image = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_COLOR_RGB)
    outputs = []
    prefix = f"sluice-test-{os.getpid()}-"
    for shared in (True, False):
        triton = Triton(live.triton_grpc, timeout_s=20, shared_memory=shared, region_prefix=prefix)
        model = triton.model("codes")
        for _ in range(2):  # the second call uses the same region
            with triton.slot(model) as slot:
                Letterbox.fit(image.shape[:2], model.imgsz).apply(image, slot.input)
                outputs.append({name: array.copy() for name, array in slot.infer().items()})
                assert ("Shared" in type(slot).__name__) is shared
        statuses = httpx.get(f"{live.triton_http}/v2/systemsharedmemory/status").json()
        triton.close()
        regions = httpx.get(f"{live.triton_http}/v2/systemsharedmemory/status").json()
        assert len(statuses) - len(regions) == (1 if shared else 0)
    for other in outputs[1:]:
        np.testing.assert_array_equal(other["output0"], outputs[0]["output0"])
    assert shm.segments(prefix) == [], "a region's name is removed once Triton has opened it"


@pytest.mark.parametrize("model", GOLDEN_LAYOUTS)
def test_results_over_http_agree_with_the_reference(
    client: Client, golden: Path, model: str
) -> None:
    """The whole path: HTTP, decoding, shared memory, backend, head, suppression, source frame."""
    for name, expected in json.loads((golden / "golden.json").read_text())[model]["cases"][
        "default"
    ]["images"].items():
        prediction = client.wait(
            client.submit(golden / "images" / name, model=model, max_detections=300)["id"],
            timeout_s=60,
        )
        assert prediction["status"] == "succeeded", prediction
        detections = prediction["output"]["predictions"]
        missing = [
            entry
            for entry in expected["detections"]
            if not any(_same(entry, other) for other in detections)
        ]
        extra = [
            entry
            for entry in detections
            if not any(_same(other, entry) for other in expected["detections"])
        ]
        doubtful = [abs(entry["confidence"] - 0.25) <= 0.003 for entry in (*missing, *extra)]
        assert all(doubtful), (name, missing, extra)


def _same(expected: dict[str, Any], detection: dict[str, Any]) -> bool:
    if (
        expected["class"] != detection["class"]
        or abs(expected["confidence"] - detection["confidence"]) > 0.005
    ):
        return False
    x1, y1, x2, y2 = expected["xyxy"]
    left, top = detection["x"] - detection["width"] / 2, detection["y"] - detection["height"] / 2
    right, bottom = left + detection["width"], top + detection["height"]
    shared = max(0, min(x2, right) - max(x1, left)) * max(0, min(y2, bottom) - max(y1, top))
    return bool(
        shared / ((x2 - x1) * (y2 - y1) + detection["width"] * detection["height"] - shared) >= 0.99
    )
