"""Boxes, in all layouts."""

from collections.abc import Mapping

from sluice.models import Layout, Model
from sluice.vision.boxes import xywh_to_xyxy
from sluice.vision.heads.common import (
    Array,
    DecodeParameters,
    Detections,
    Rows,
    best_rows,
    read_rows,
)
from sluice.vision.heads.layouts import read_table
from sluice.vision.letterbox import Letterbox


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters, letterbox: Letterbox
) -> Detections:
    """Return boxes. Arguments and errors are those of sluice.vision.heads.decode."""
    rows = select(*read_table(model, outputs), parameters)
    return Detections(letterbox.to_source(rows.boxes), rows.scores, rows.class_ids)


def select(
    model: Model, output: Array, parameters: DecodeParameters, extras: int | None = 0
) -> Rows:
    """Return the rows of `output` that are detections, the best first.

    For every task with straight boxes. `model` and `output` are results of read_table.
    Boxes in the result are x1, y1, x2, y2 in network pixels.
    `extras` and errors are those of read_rows.
    """
    rows = read_rows(model, output, parameters, extras)
    boxes = rows.boxes if model.layout is Layout.END_TO_END else xywh_to_xyxy(rows.boxes)
    kept = best_rows(model, rows, parameters, boxes)
    return Rows(boxes[kept], rows.scores[kept], rows.class_ids[kept], rows.extras[kept])
