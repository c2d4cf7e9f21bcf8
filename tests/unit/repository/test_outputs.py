"""Readings of outputs whose sizes follow the layouts' formulas, for any input and any classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.models import Layout, Task
from sluice.repository.onnx_file import GraphTensor
from sluice.repository.outputs import Clues, anchors_a_cell, choose, readings

SIDES = st.integers(4, 48).map(lambda cells: 32 * cells)
SIZES = st.tuples(SIDES, SIDES)
CLASSES = st.integers(1, 400)
TASKS = st.sampled_from([Task.DETECT, Task.SEGMENT, Task.POSE, Task.OBB])
KEYPOINTS = st.tuples(st.integers(1, 30), st.sampled_from([2, 3]))
EXTRAS = {Task.DETECT: 0, Task.SEGMENT: 32, Task.OBB: 1}


def cells(hw: tuple[int, int]) -> int:
    return sum(hw[0] // stride * (hw[1] // stride) for stride in (8, 16, 32))


def tensors(task: Task, hw: tuple[int, int], main: tuple[int, ...]) -> list[GraphTensor]:
    outputs = [GraphTensor("main", "FP32", main)]
    if task is Task.SEGMENT:
        outputs.append(GraphTensor("masks", "FP32", (main[0], 32, hw[0] // 4, hw[1] // 4)))
    return outputs


def chosen(outputs: list[GraphTensor], clues: Clues) -> set[tuple[Task, Layout, int | None, int]]:
    found = choose(readings(outputs, clues), outputs, clues)
    return {(r.task, r.layout, r.classes, r.extras) for r in found}


@given(SIZES, CLASSES, TASKS, KEYPOINTS, st.integers(1, 16))
def test_raw_tables_are_read_as_their_formulas_say(
    hw: tuple[int, int], classes: int, task: Task, kpt_shape: tuple[int, int], batch: int
) -> None:
    extras = kpt_shape[0] * kpt_shape[1] if task is Task.POSE else EXTRAS[task]
    clues = Clues(hw, batch, classes, task, kpt_shape=kpt_shape, suppressed=False, queries=False)
    rows = cells(hw)
    main = (batch, 4 + classes + extras, rows)
    expected = {(task, Layout.ANCHOR_FREE, classes, extras)}
    assert chosen(tensors(task, hw, main), clues) == expected
    if task is not Task.OBB:
        main = (batch, 3 * rows, 5 + classes + extras)
        expected = {(task, Layout.ANCHORS, classes, extras)}
        assert chosen(tensors(task, hw, main), clues) == expected


@given(SIZES, CLASSES, TASKS, KEYPOINTS, st.integers(1, 500))
def test_suppressed_rows_are_read_whatever_the_classes_are(
    hw: tuple[int, int], classes: int, task: Task, kpt_shape: tuple[int, int], rows: int
) -> None:
    extras = kpt_shape[0] * kpt_shape[1] if task is Task.POSE else EXTRAS[task]
    clues = Clues(hw, 1, classes, task, kpt_shape=kpt_shape, suppressed=True, queries=False)
    expected = {(task, Layout.END_TO_END, None, extras)}
    assert chosen(tensors(task, hw, (1, rows, 6 + extras)), clues) == expected


@given(SIZES, CLASSES)
def test_detectors_without_metadata_are_told_by_their_names(
    hw: tuple[int, int], classes: int
) -> None:
    clues = Clues(hw, 1, classes)
    rows = cells(hw)
    tables = {
        (1, 4 + classes, rows): Layout.ANCHOR_FREE,
        (1, 3 * rows, 5 + classes): Layout.ANCHORS,
        (1, rows, 5 + classes): Layout.ANCHORS,
    }
    for main, layout in tables.items():
        found = chosen(tensors(Task.DETECT, hw, main), clues)
        assert found == {(Task.DETECT, layout, classes, 0)}


@pytest.mark.parametrize(
    ("rows", "hw", "expected"),
    [
        (8400, (640, 640), (1, (8, 16, 32))),
        (25200, (640, 640), (3, (8, 16, 32))),
        (2100, (320, 320), (1, (8, 16, 32))),
        (34000, (640, 640), (1, (4, 8, 16, 32))),
        (34000, (1280, 1280), (1, (8, 16, 32, 64))),
        (102000, (1280, 1280), (3, (8, 16, 32, 64))),
        (6000, (640, 640), (3, (16, 32))),
        (42 * 42 + 21 * 21 + 11 * 11, (333, 333), (1, (8, 16, 32))),
        (300, (640, 640), None),
        (100, (640, 640), None),
    ],
)
def test_the_number_of_anchors_follows_from_the_size(
    rows: int, hw: tuple[int, int], expected: tuple[int, tuple[int, ...]] | None
) -> None:
    assert anchors_a_cell(rows, hw) == expected
