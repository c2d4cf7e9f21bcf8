"""Rotated boxes: each row adds an angle in radians."""

from collections.abc import Mapping

import numpy as np

from sluice.models import Model
from sluice.vision.boxes import Floats, rotated_corners
from sluice.vision.heads.common import (
    Array,
    DecodeParameters,
    Detections,
    best_rows,
    read_rows,
)
from sluice.vision.heads.layouts import read_table
from sluice.vision.letterbox import Letterbox


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters, letterbox: Letterbox
) -> Detections:
    """Return detections with `rotated` and `corners`. `boxes` enclose the corners in the image.

    In every layout a row begins with centre x, centre y, width, height, and ends with the angle.
    End-to-end models do the same: https://github.com/ultralytics/ultralytics/issues/24481

    Arguments and errors are those of sluice.vision.heads.decode.
    """
    model, table = read_table(model, outputs)
    rows = read_rows(model, table, parameters, extras=1)
    rotated = np.concatenate((rows.boxes, rows.extras), axis=1)
    kept = best_rows(model, rows, parameters, rotated, rotated=True)
    rotated = _upright(rotated[kept])
    rotated[:, :2] = letterbox.to_source(rotated[:, :2], clip=False)
    rotated[:, 2:4] /= np.array(letterbox.scale_xy, np.float32)
    corners = rotated_corners(rotated)
    enclosing = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    boxes = np.clip(enclosing, 0, np.array(letterbox.source_hw[::-1] * 2, np.float32))
    return Detections(
        boxes, rows.scores[kept], rows.class_ids[kept], rotated=rotated, corners=corners
    )


def _upright(boxes: Floats) -> Floats:
    """Return the same rotated boxes (n, 5) with angles from 0 to below pi/2.

    A quarter turn swaps width and height.
    """
    quarters = np.floor_divide(boxes[:, 4], np.float32(np.pi / 2))
    turned = boxes.copy()
    turned[:, 4] -= quarters * np.float32(np.pi / 2)
    odd = quarters % 2 == 1
    turned[odd, 2:4] = boxes[odd, 3:1:-1]
    return turned
