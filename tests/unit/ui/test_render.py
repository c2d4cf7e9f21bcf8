"""HTML of the page."""

from pathlib import Path

from sluice.client import Prediction
from tests.support.answers import BOX, output, prediction
from ui import render
from ui.run import Item


def _item(**fields: object) -> Item:
    item = Item("desk.jpg", Path("/nowhere/desk.jpg"))
    item.update(Prediction.from_json(prediction(**fields)))
    return item


def test_texts_from_outside_are_no_html_and_no_template() -> None:
    item = Item('<img onerror="x">${1}{{value}}.jpg', Path("/nowhere"))
    for markup in (render.listing([item], 0), render.result(item, None)):
        assert "<img onerror" not in markup
        assert "${" not in markup
        assert "{{" not in markup


def test_a_queued_row_tells_its_place_and_the_wait() -> None:
    row = render.listing([_item(queue_position=3, estimated_wait_s=4.21)], 0)
    assert "queued" in row
    assert "place 3, about 4.2 s to go" in row
    assert "0 of 1 done, 1 on the way." in row


def test_a_result_has_a_row_and_a_shape_for_each_detection() -> None:
    item = _item(status="succeeded", output=output(BOX), metrics={"predict_time": 0.02})
    markup = render.result(item, b"\xff\xd8")
    assert 'data-row="a-0"' in markup
    assert 'data-shape="a-0"' in markup
    assert "data:image/jpeg;base64,/9g=" in markup
    assert "1 object" in markup


def test_without_a_result_the_reason_is_shown() -> None:
    item = _item(status="failed", error="the image is cut off")
    assert "the image is cut off" in render.result(item, None)


def test_stages_are_in_the_order_of_the_work_and_without_the_total() -> None:
    metrics = {"predict_time": 9.0, "inference_time": 2.0, "queue_time": 1.0, "tiles": 4.0}
    assert render.stage_times(metrics) == {"queue": 1.0, "inference": 2.0}
