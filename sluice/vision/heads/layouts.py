"""Rarer layouts, rewritten as the ones that the heads read: anchors or end-to-end.

model, table = read_table(model, outputs)
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model
from sluice.vision.boxes import Floats, xywh_to_xyxy
from sluice.vision.heads.common import Array, pick

GRID_STRIDES = (8, 16, 32)


def read_table(model: Model, outputs: Mapping[str, Array]) -> tuple[Model, Array]:
    """Return the main output, two-dimensional, and the model with the layout of that array.

    The layout is one of anchors, anchor-free, end-to-end and candidates.
    `outputs` are arrays by name, without a batch axis.

    Raises UnsupportedModel where no output has the form that the layout needs.
    """
    match model.layout:
        case Layout.QUERIES:
            return _as(model, Layout.END_TO_END, _from_queries(model, pick(model, outputs, 2)))
        case Layout.RANKED_QUERIES:
            return _as(model, Layout.END_TO_END, _from_ranked(model, pick(model, outputs, 2)))
        case Layout.ROWS:
            return _as(model, Layout.END_TO_END, _from_rows(model, pick(model, outputs, 2)))
        case Layout.GRID:
            return _as(model, Layout.ANCHORS, _from_grid(model, pick(model, outputs, 2)))
        case Layout.MAPS:
            return _as(model, Layout.ANCHORS, _from_maps(model, outputs))
        case _:
            return model, pick(model, outputs, 2)


def _as(model: Model, layout: Layout, table: Floats) -> tuple[Model, Array]:
    return replace(model, layout=layout), table


def _from_queries(model: Model, output: Array) -> Floats:
    _check_width(model, output)
    scores = output[:, 4:].astype(np.float32)
    return np.column_stack((_corners(model, output), scores.max(axis=1), scores.argmax(axis=1)))


def _from_ranked(model: Model, output: Array) -> Floats:
    """The graph has chosen the classes: a row is the score of one class for one query."""
    _check_width(model, output)
    return np.column_stack((_corners(model, output), output[:, 4:])).astype(np.float32)


def _corners(model: Model, output: Array) -> Floats:
    """Boxes are fractions of the canvas, as DETR's are: https://arxiv.org/abs/2005.12872"""
    canvas = np.array(model.imgsz[::-1] * 2, np.float32)
    return xywh_to_xyxy(output[:, :4].astype(np.float32) * canvas)


def _from_rows(model: Model, output: Array) -> Floats:
    """Rows of other images are left out. In a row, the class comes before the score."""
    _check_width(model, output)
    table = output[output[:, 0] == 0].astype(np.float32)
    boxes_scores_classes: Floats = table[:, [1, 2, 3, 4, 6, 5]]
    return boxes_scores_classes


def _from_grid(model: Model, output: Array) -> Floats:
    """Undo YOLOX's encoding, section 2.1 of https://arxiv.org/abs/2107.08430

    A centre is its cell plus an offset, in strides. A size is the exponential, in strides.
    """
    _check_width(model, output)
    height, width = model.imgsz
    cells, strides = [], []
    for stride in GRID_STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.column_stack((x.ravel(), y.ravel())))
        strides.append(np.full((x.size, 1), stride))
    corner, stride_of = np.concatenate(cells), np.concatenate(strides).astype(np.float32)
    if len(corner) != len(output):
        raise UnsupportedModel(
            f"model {model.name!r} has {len(output)} rows, but a grid of {height} x {width} pixels"
            f" has {len(corner)} cells; correct its layout or imgsz"
        )
    table = output.astype(np.float32)
    table[:, :2] = (table[:, :2] + corner) * stride_of
    with np.errstate(over="ignore"):  # infinite sizes are dropped with the broken rows
        table[:, 2:4] = np.exp(table[:, 2:4]) * stride_of
    return table


def _from_maps(model: Model, outputs: Mapping[str, Array]) -> Floats:
    """Undo YOLOv5's encoding, https://github.com/ultralytics/yolov5/issues/471

    An output is (anchors a cell, h, w, values). All values are logits.
    A centre is its cell plus an offset from -0.5 to 1.5, in strides. A size is up to four anchors.
    """
    maps = [
        outputs[output.name]
        for output in model.outputs
        if output.name in outputs and outputs[output.name].ndim == 4
    ]
    if len(maps) != len(model.anchors) or any(
        array.shape[0] != len(anchors) or array.shape[3] < model.fixed_values
        for array, anchors in zip(maps, model.anchors, strict=True)
    ):
        shapes = ", ".join(str(array.shape) for array in maps) or "none"
        raise UnsupportedModel(
            f"model {model.name!r}: its maps should be (anchors, h, w, {model.fixed_values}),"
            f" one for each of the {len(model.anchors)} lists in sluice.anchors, but they are"
            f" {shapes}; correct its anchors, layout or names"
        )
    tables = []
    for array, anchors in zip(maps, model.anchors, strict=True):
        _, rows, columns, values = array.shape
        stride_xy = np.array((model.imgsz[1] / columns, model.imgsz[0] / rows), np.float32)
        y, x = np.mgrid[:rows, :columns]
        with np.errstate(over="ignore"):
            table = 1 / (1 + np.exp(-array.astype(np.float32)))
        table[..., :2] = (table[..., :2] * 2 - 0.5 + np.stack((x, y), axis=-1)) * stride_xy
        table[..., 2:4] = (table[..., 2:4] * 2) ** 2 * np.array(anchors, np.float32)[
            :, None, None, :
        ]
        tables.append(table.reshape(-1, values))
    return np.concatenate(tables)


def _check_width(model: Model, output: Array) -> None:
    if output.shape[1] != model.fixed_values:
        raise UnsupportedModel(
            f"model {model.name!r} is configured as {model.task}, {model.layout}, with"
            f" {len(model.names)} classes: its output should be (rows, {model.fixed_values}),"
            f" but it is {output.shape}; correct its task, layout or names"
        )
