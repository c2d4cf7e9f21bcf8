"""Cards of past predictions, and their ZIP."""

import io
import json
import zipfile

import pytest

from sluice.client import Prediction
from tests.support.answers import BOX, output, prediction
from ui import archive, cards


def _prediction(**fields: object) -> Prediction:
    return Prediction.from_json(prediction(**fields))


def _done(id_: str, name: str | None = None) -> Prediction:
    metadata = {"name": name} if name else {}
    return _prediction(id=id_, status="succeeded", output=output(BOX), metadata=metadata)


def test_a_card_is_marked_and_opened_by_the_predictions_id() -> None:
    card = cards.gallery([_done("p1", "desk.jpg")], {})
    assert '<input type="checkbox" value="p1"> Select desk.jpg' in card
    assert 'data-id="p1">Open desk.jpg</button>' in card
    assert "1 detection<" in card


def test_names_from_outside_are_no_html() -> None:
    bad = _done('"><script>', '"><script>')
    for markup in (cards.gallery([bad], {}), cards.details(bad, None)):
        assert "<script>" not in markup


def test_a_prediction_without_a_result_shows_the_reason() -> None:
    card = cards.card(_prediction(status="failed", error="the image is cut off"), None)
    assert "the image is cut off" in card
    assert "<rect" not in card


def test_without_a_picture_the_boxes_are_drawn() -> None:
    assert '<rect x="40.0" y="15.0" width="20.0" height="10.0"' in cards.card(_done("a"), None)


def test_bytes_that_are_no_image_have_no_thumbnail() -> None:
    assert cards.thumbnail(b"no image") is None


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("COCO", {"annotations.json"}),
        ("YOLO", {"labels/desk.txt", "labels/desk-b.txt", "classes.txt"}),
        ("JSON", {"desk.json", "desk-b.json", "c.json"}),
    ],
)
def test_a_zip_has_a_file_for_each_name(kind: str, files: set[str]) -> None:
    chosen = [_done("a", "desk.jpg"), _done("b", "desk.jpg"), _prediction(id="c")]
    with zipfile.ZipFile(io.BytesIO(archive.pack(chosen, kind))) as packed:
        assert set(packed.namelist()) == files
        if kind == "COCO":
            images = json.loads(packed.read("annotations.json"))["images"]
            assert [image["file_name"] for image in images] == ["desk.jpg", "desk-b.jpg"]
        if kind == "YOLO":
            assert packed.read("classes.txt").decode() == "\nqr\n"


def test_a_name_in_a_zip_leads_out_of_no_folder() -> None:
    names = archive.file_names([_done("a", "../../etc/pass wd.png"), _done("b", "C:\\x\\y.jpg")])
    assert names == ["pass_wd.png", "y.jpg"]
