"""Outputs as dataclasses, and in the formats of other tools."""

import numpy as np
import pytest
from PIL import Image

from sluice.client.formats import coco
from sluice.client.results import Batch, Output, Prediction
from tests.support.answers import BOX, output, prediction

SQUARE = [{"x": 40.0, "y": 15.0}, {"x": 60.0, "y": 15.0}, {"x": 60.0, "y": 25.0}]
OUTLINED = {**BOX, "points": SQUARE}
POINT = {"x": 50.0, "y": 10.0, "confidence": 0.8, "class_id": 0}
POSED = {**BOX, "keypoints": [POINT]}


def test_a_prediction_has_its_output_and_times() -> None:
    read = Prediction.from_json(
        prediction(
            status="succeeded",
            output=output(BOX),
            completed_at="2026-11-28T10:00:01.500Z",
        )
    )
    assert read.completed_at is not None
    assert (read.completed_at - read.created_at).total_seconds() == 1.5
    assert read.succeeded
    assert read.output is not None
    (detection,) = read.output.detections
    assert (detection.class_name, detection.xyxy) == ("qr", (40, 15, 60, 25))


def test_a_classifier_has_scores_and_no_detections() -> None:
    entry = {"class": "cat", "class_id": 2, "confidence": 0.75}
    read = Output.from_json(output(entry, top="cat", confidence=0.75))
    assert read.detections == ()
    assert (read.scores[0].class_name, read.scores[0].class_id) == ("cat", 2)
    assert read.to_yolo() == ""


def test_a_batch_has_its_errors() -> None:
    error = {"index": 1, "name": "a.jpg", "code": "not_an_image", "detail": "no image"}
    raw = {
        "id": "b",
        "model": "codes",
        "status": "succeeded",
        "total": 2,
        "counts": {"succeeded": 1},
        "missing": 0,
        "errors": [error],
        "completed_at": "2026-11-28T10:00:01.500Z",
    }
    batch = Batch.from_json(raw)
    assert batch.ended
    assert (batch.errors[0].index, batch.errors[0].code) == (1, "not_an_image")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (BOX, "1 0.5 0.5 0.2 0.25 0.9\n"),
        (OUTLINED, "1 0.4 0.375 0.6 0.375 0.6 0.625 0.9\n"),
        (POSED, "1 0.5 0.5 0.2 0.25 0.5 0.25 2 0.9\n"),
    ],
    ids=["detect", "segment", "pose"],
)
def test_yolo_lines_hold_fractions_of_the_image(entry: dict, expected: str) -> None:
    read = Output.from_json(output(entry))
    assert read.to_yolo() == expected
    assert read.to_yolo(confidence=False) == expected.removesuffix(" 0.9\n") + "\n"


def test_coco_documents_number_images_and_annotations() -> None:
    first = Output.from_json(output(OUTLINED, POSED))
    second = Output.from_json(output({**BOX, "class": "ean", "class_id": 0}))
    document = coco({"a.jpg": first, "b.jpg": second})
    assert [image["file_name"] for image in document["images"]] == ["a.jpg", "b.jpg"]
    assert [(entry["id"], entry["image_id"]) for entry in document["annotations"]] == [
        (1, 1),
        (2, 1),
        (3, 2),
    ]
    outlined, posed, boxed = document["annotations"]
    assert outlined["segmentation"] == [[40, 15, 60, 15, 60, 25]]
    assert outlined["area"] == 100
    assert posed["keypoints"] == [50, 10, 2]
    assert boxed["bbox"] == [40, 15, 20, 10]
    assert boxed["area"] == 200
    assert document["categories"] == [{"id": 0, "name": "ean"}, {"id": 1, "name": "qr"}]


@pytest.mark.parametrize("entry", [BOX, OUTLINED, POSED], ids=["detect", "segment", "pose"])
def test_a_plot_draws_on_a_copy(entry: dict) -> None:
    image = Image.new("RGB", (100, 40))
    drawn = Output.from_json(output(entry)).plot(image)
    pixels = np.asarray(drawn)
    assert pixels[15, 50].any(), "the box's upper edge"
    assert not pixels[38, 5].any(), "far from the box"
    assert not np.asarray(image).any()


def test_a_plot_on_another_image_or_a_url_is_refused() -> None:
    read = Output.from_json(output(BOX))
    with pytest.raises(ValueError, match="40 by 100"):
        read.plot(Image.new("RGB", (40, 100)))
    with pytest.raises(ValueError, match="not its URL"):
        read.plot("https://example.com/a.jpg")
