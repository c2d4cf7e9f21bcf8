"""A canceled sliced prediction stops at its next batch. Triton counts the inferences."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from benchmarks.cancel import cancel_one, inferences
from sluice.client import Client
from sluice.local.stack import Stack, StackConfig
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

BATCHES = 20
"""The least inferences of a prediction that nobody cancels."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack")
    models = ROOT / "model_repository"
    with Stack(StackConfig(state=state, models=models, port=0, concurrency=1)) as stack:
        yield stack


@pytest.fixture(scope="module")
def image() -> bytes:
    photo = cv2.imread(str(ROOT / "samples" / "desk.jpg"))
    return cv2.imencode(".jpg", np.tile(photo, (3, 3, 1)))[1].tobytes()


def test_at_most_one_batch_runs_after_a_cancel(stack: Stack, image: bytes) -> None:
    metrics = stack.addresses.metrics
    with Client(stack.addresses.api) as client:
        client.run(image, slice=320)
        assert inferences(metrics) >= BATCHES
        for delay_s in (0, 0.05, 0.1, 0.15, 0.2):
            begun, further = cancel_one(client, metrics, image, 320, delay_s)
            assert begun < BATCHES
            assert further <= 1
