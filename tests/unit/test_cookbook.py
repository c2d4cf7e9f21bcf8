"""The cookbook's experiment: statistics, tables, figures, and the recipe's pixels."""

import base64
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.cookbook import figures, models, recipe, report, rows
from benchmarks.cookbook.experiment import Options, _delays
from benchmarks.cookbook.rows import Row
from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "experiment"


def _row(call: int, result_s: float, **changes: object) -> Row:
    values: dict[str, object] = {
        "handler": "queue",
        "replicas": 5,
        "session": 1,
        "plan": "concurrency",
        "call": call,
        "start_s": 0.0,
        "accept_s": result_s / 10,
        "result_s": result_s,
        "inside_s": result_s / 2,
        "status": "ok",
    }
    return Row(**values | changes)  # type: ignore[arg-type]


def test_a_cell_has_the_means_of_answered_calls_and_the_end_of_each_session() -> None:
    found = rows.cell(
        [
            _row(1, 1.0),
            _row(2, 3.0, start_s=0.5),
            _row(1, 2.0, session=2),
            _row(2, 60.0, session=2, status="timeout", accept_s=None, inside_s=None),
        ]
    )
    assert (found.mean_s, found.inside_s, found.accept_p95_s) == (2.0, 1.0, 0.3)
    assert found.ends_s == (3.5, 60.0), "a call that failed counts until it failed"
    assert found.end_s == 31.75
    assert (found.calls, found.failed) == (4, 1)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 10), (0.95, 19), (0.99, 20), (1, 20)])
def test_a_percentile_is_the_least_value_that_the_share_does_not_exceed(
    share: float, value: float
) -> None:
    assert rows.percentile([float(number) for number in range(1, 21)], share) == value


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = [_row(1, 0.25), _row(2, 60.0, accept_s=None, inside_s=None, status="error", error="a,b")]
    for name in ("calls.csv", "calls.csv.gz"):
        rows.write(tmp_path / name, made)
        assert rows.read(tmp_path / name) == made
    before = (tmp_path / "calls.csv.gz").read_bytes()
    rows.write(tmp_path / "calls.csv.gz", made)
    assert (tmp_path / "calls.csv.gz").read_bytes() == before, "a second run changes nothing"


def test_a_burst_counts_each_way_to_end() -> None:
    end = rows.burst(
        [
            _row(1, 2.0),
            _row(2, 60.0, status="timeout"),
            _row(3, 0.1, status="error", error="503"),
            _row(4, 0.2, status="error", error="503"),
        ]
    )
    assert (end.at_once, end.answered, end.timeouts, end.errors) == (4, 1, 1, 2)
    assert (end.last_s, end.reason) == (60.0, "503")


def _everything() -> list[Row]:
    return [
        _row(call, 1.0 + call if handler == "queue" else 4.0 * call, handler=handler, plan=plan)
        for handler in rows.HANDLERS
        for plan in rows.PLANS
        for call in (1, 2)
    ]


def test_the_table_has_the_cookbooks_columns_and_the_mean_inside() -> None:
    head, _, first, *others = report.table(rows.cells(_everything())).splitlines()
    assert head.count("mean") == head.count("inside") == head.count("end") == 3
    assert first.startswith("| Sync x 5 | 6.000 | 3.000 | 8.00 |")
    assert [line.split()[1] for line in others] == ["Async", "Ensemble", "Queue"]


def test_the_aims_are_judged_against_the_best_recipe_and_count_every_lost_call() -> None:
    sessions = _everything()
    lost = [_row(1, 60.0, plan="burst-1000", status="timeout")]
    text = report.bars(rows.cells(sessions), report.burst_ends(sessions, lost))
    assert "of the best recipe, Async x 5 | 0.38 | met |" in text
    assert "p95 | 300 ms | missed |" in text
    assert "no call of the queue fails or times out | 1 | missed |" in text


def test_the_page_keeps_its_words_and_gets_the_measured_parts_once() -> None:
    page = "before\n<!-- measured: table -->\nold\n<!-- end -->\nafter"
    new = report.filled(page, {"table": r"a \1 b"})
    assert new == "before\n<!-- measured: table -->\n\na \\1 b\n\n<!-- end -->\nafter"
    assert report.filled(new, {"table": r"a \1 b"}) == new


def test_every_figure_is_well_formed_and_names_each_handler() -> None:
    made = report.drawn(_everything(), [_row(1, 5.0, plan="burst-1000")], {"timeout_s": 60})
    assert len(made) == 7
    for text in made.values():
        tree = ElementTree.fromstring(text)
        words = " ".join(tree.itertext())
        assert all(handler.capitalize() in words for handler in rows.HANDLERS)
        for box in tree.iter("{http://www.w3.org/2000/svg}rect"):
            assert float(box.get("x", 0)) + float(box.get("width", 0)) <= figures.WIDTH + 0.1


@pytest.mark.parametrize("limit", [0.00037, 0.14, 0.9, 1.2, 3.0, 17.0, 129.6])
def test_an_axis_ends_at_a_round_number_that_stays_the_same(limit: float) -> None:
    ticks = figures.ticks(limit)
    assert 3 <= len(ticks) <= 8
    assert ticks[-2] < limit <= ticks[-1] * 1.001
    assert figures.ticks(ticks[-1]) == ticks


def test_the_page_shows_what_its_rows_say() -> None:
    page = (FOLDER / report.PAGE).read_text()
    sessions, bursts = rows.read(FOLDER / report.CALLS), rows.read(FOLDER / report.BURSTS)
    facts = json.loads((FOLDER / report.FACTS).read_text())
    assert report.filled(page, report.sections(sessions, bursts, facts)) == page
    for name, text in report.drawn(sessions, bursts, facts).items():
        assert (FOLDER / "figures" / name).read_text() == text
        assert f"figures/{name}" in page


def test_every_handler_gets_the_same_random_starts_within_the_compressed_window() -> None:
    options = Options(compression=10)
    first = _delays(options, "random", 1)
    assert first == _delays(options, "random", 1) != _delays(options, "random", 2)
    assert 1.5 < max(first) < 2.0
    assert set(_delays(options, "concurrency", 1)) == {0.0}


def test_the_shipped_detector_as_exported_gives_the_same_boxes(tmp_path: Path) -> None:
    import onnxruntime

    shipped = onnxruntime.InferenceSession(ROOT / "model_repository/codes/1/model.onnx")
    exported = onnxruntime.InferenceSession(models.exported(tmp_path / "model.onnx"))
    text = base64.b64encode((ROOT / "samples" / "desk.jpg").read_bytes()).decode()
    pixels = recipe.read(text)
    boxed = recipe.letterbox(pixels, (416, 416))
    (old,) = shipped.run(None, {"images": recipe.tensor(boxed.canvas, "UINT8")})
    (new,) = exported.run(None, {"images": recipe.tensor(boxed.canvas, "FP32")})
    best = slice(0, 60)  # ties among the noise may change places
    np.testing.assert_allclose(new[..., best], old[..., best], rtol=1e-3, atol=1e-3)
    found = recipe.detect(new, boxed, pixels.shape[:2])
    assert len(found) >= 3
    assert all(0 <= x1 < x2 <= pixels.shape[1] for x1, _, x2, *_ in found)
    drawn = recipe.read(recipe.draw(pixels.copy(), found, ["a", "b", "c"]))
    assert drawn.shape == pixels.shape
    assert np.abs(drawn.astype(int) - pixels).max() > 100


def test_boxes_go_back_to_the_source_and_overlaps_of_a_class_are_dropped() -> None:
    boxed = recipe.letterbox(np.zeros((100, 200, 3), np.uint8), (64, 64))
    assert (boxed.scale, boxed.left, boxed.top) == (0.32, 0, 16)
    assert boxed.canvas.shape == (64, 64, 3)
    assert boxed.canvas[0, 0].tolist() == [114, 114, 114]
    # Columns: centre x, centre y, width, height, and the scores of two classes.
    columns = [(16, 32, 16, 16, 0.9, 0), (17, 32, 16, 16, 0.8, 0), (16, 32, 16, 16, 0, 0.7),
               (60, 30, 16, 8, 0, 0.6), (5, 5, 4, 4, 0.2, 0.1)]  # fmt: skip
    raw = np.array(columns, np.float32).T[None]
    found = recipe.detect(raw, boxed, (100, 200))
    assert [row[4:] for row in found] == [
        pytest.approx(one) for one in ((0.9, 0), (0.7, 1), (0.6, 1))
    ]
    assert found[0][:4] == pytest.approx([25, 25, 75, 75])
    assert found[2][2] == 200, "clipped to the image"
    assert recipe.detect(raw[..., 4:], boxed, (100, 200)) == []


def test_a_text_that_is_no_image_is_refused() -> None:
    with pytest.raises((ValueError, cv2.error)):
        recipe.read(base64.b64encode(b"no image").decode())
