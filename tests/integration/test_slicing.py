"""Sliced inference on the live stack: small codes in a large image."""

import cv2
import numpy as np
import pytest

from sluice.client import Client
from sluice.local.supervision import shm
from sluice.local.supervision.state import StateDirectory
from tests.support.live import Live
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration

COPIES = 4


@pytest.fixture(scope="module")
def scene() -> tuple[bytes, int]:
    """Copies of a photo side by side, and the number of codes in one of them at full size."""
    photo = cv2.imread(str(ROOT / "samples" / "desk.jpg"))
    mosaic = np.tile(photo, (COPIES, COPIES, 1))
    return cv2.imencode(".jpg", mosaic)[1].tobytes(), photo.shape[1]


def test_tiles_find_what_the_whole_image_loses(live: Live, scene: tuple[bytes, int]) -> None:
    image, width = scene
    with Client(live.api) as client:
        one = client.run(ROOT / "samples" / "desk.jpg").output
        whole = client.run(image).output
        prediction = client.run(image, slice=True)
    assert one is not None
    assert whole is not None
    assert prediction.output is not None, prediction.error
    found = prediction.output.detections
    assert len(found) >= COPIES * COPIES * len(one.detections) * 0.8
    assert len(found) > len(whole.detections)
    assert prediction.metrics["tiles"] > COPIES
    assert prediction.metrics["merge_time"] >= 0
    assert prediction.output.width == COPIES * width
    assert max(entry.xyxy[2] for entry in found) > (COPIES - 1) * width


def test_canceled_predictions_leave_no_shared_memory(live: Live, scene: tuple[bytes, int]) -> None:
    """A slot that waits for no answer is given back at once, and not after a minute."""
    prefix = f"{StateDirectory(live.state).shm_prefix}worker-"
    with Client(live.api) as client:
        client.run(scene[0], slice=True)
        before = len(shm.segments(prefix))
        for _ in range(6):
            prediction = client.submit(scene[0], slice=448)
            until(lambda p=prediction: client.get(p.id).status == "processing")  # type: ignore[misc]
            client.cancel(prediction.id)
        until(lambda: len(shm.segments(prefix)) <= before + 1)
