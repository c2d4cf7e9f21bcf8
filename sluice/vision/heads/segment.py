"""Boxes with masks: each row adds coefficients of mask prototypes, which are a second output.

A mask is the sum of the prototypes, weighted by a detection's coefficients, and cropped to its box.
The source is section 3 of Bolya et al., "YOLACT", https://arxiv.org/abs/1904.02689

Here the sum is scaled up before the crop, so that the box cuts network pixels.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from sluice.errors import UnsupportedModel
from sluice.models import Model
from sluice.vision.boxes import Floats
from sluice.vision.heads.common import Array, DecodeParameters, Detections, pick
from sluice.vision.heads.detect import select
from sluice.vision.heads.layouts import read_table
from sluice.vision.letterbox import Letterbox, Pixels

_PARTS = 16  # of a mask; a mask with more is noise, and its smaller parts are left out


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters, letterbox: Letterbox
) -> Detections:
    """Return detections with `polygons`. Prototypes are (p, h, w), and rows have p coefficients.

    A detection whose mask is empty is left out, as the reference implementation does.

    Arguments and errors are those of sluice.vision.heads.decode.
    """
    prototypes = pick(model, outputs, 3)
    height, width = letterbox.network_hw
    if prototypes.size == 0 or height % prototypes.shape[1] or width % prototypes.shape[2]:
        raise UnsupportedModel(
            f"model {model.name!r}: its mask prototypes should be (p, h, w) with {height} a"
            f" multiple of h and {width} of w, but they are {prototypes.shape};"
            " correct its task or imgsz"
        )
    rows = select(*read_table(model, outputs), parameters, extras=len(prototypes))
    polygons, kept = [], []
    for index, (box, coefficients) in enumerate(zip(rows.boxes, rows.extras, strict=True)):
        mask, left, top = draw_mask(prototypes, coefficients, box, letterbox.network_hw)
        if mask.any():
            shift = np.array((left, top), np.float32)
            polygons.append(letterbox.to_source(outline(mask) + shift))
            kept.append(index)
    rows = rows[np.array(kept, np.int64)]
    return Detections(
        letterbox.to_source(rows.boxes), rows.scores, rows.class_ids, polygons=polygons
    )


def draw_mask(
    prototypes: Array, coefficients: Floats, box: Floats, network_hw: tuple[int, int]
) -> tuple[Pixels, int, int]:
    """Return a detection's mask within its box, (h, w) uint8 of 0 and 1, and its left and top.

    `prototypes` (p, h, w) cover the canvas, whose sides are multiples of h and w. `coefficients` is
    (p,) float32. `box` (4,) is x1, y1, x2, y2 in network pixels, as are the left and top.
    A pixel is in the box where x1 <= x < x2. A box without pixels gives a mask of shape (0, 0).
    """
    left, top, right, bottom = (
        min(max(int(np.ceil(side)), 0), limit)
        for side, limit in zip(box, network_hw[::-1] * 2, strict=True)
    )
    if right <= left or bottom <= top:
        return np.zeros((0, 0), np.uint8), left, top
    step_y, step_x = network_hw[0] // prototypes.shape[1], network_hw[1] // prototypes.shape[2]
    # Only the cells under the box are scaled, and one more on each side for the interpolation.
    y, x = max(top // step_y - 1, 0), max(left // step_x - 1, 0)
    cells = prototypes[:, y : (bottom - 1) // step_y + 2, x : (right - 1) // step_x + 2].astype(
        np.float32
    )
    # A prototype that is not finite gives no mask.
    with np.errstate(invalid="ignore", over="ignore"):
        logits = np.tensordot(coefficients, cells, 1)
    size = (logits.shape[1] * step_x, logits.shape[0] * step_y)
    scaled = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)
    inside = scaled[top - y * step_y : bottom - y * step_y, left - x * step_x : right - x * step_x]
    return (inside > 0).astype(np.uint8), left, top


def outline(mask: Pixels) -> Floats:
    """Return the outline (m, 2) float32, x and y, of the set pixels of `mask` (h, w) uint8.

    m is 3 or more, and 0 for an empty mask. One polygon covers all parts: a bridge without width
    joins each smaller part at the nearest corners. Holes are not cut out.
    """
    if mask.size == 0:
        return np.zeros((0, 2), np.float32)
    parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    whole = np.zeros((0, 2), np.float32)
    for part in sorted(parts, key=cv2.contourArea, reverse=True)[:_PARTS]:
        points = part.reshape(-1, 2).astype(np.float32)
        if len(whole) == 0:
            whole = points
            continue
        # Squared distances as a² - 2ab + b²: a matrix product is faster than differences.
        distances = (whole**2).sum(axis=1)[:, None] - 2 * whole @ points.T + (points**2).sum(axis=1)
        end, start = np.unravel_index(distances.argmin(), distances.shape)
        round_trip = np.concatenate((points[start:], points[: start + 1]))
        whole = np.concatenate((whole[: end + 1], round_trip, whole[end:]))
    return _around(whole) if 0 < len(whole) < 3 else whole


def _around(pixels: Floats) -> Floats:
    """Return the outline of one or two pixels' areas; readers of polygons need three points."""
    areas = pixels[:, None, :] + np.array(((0, 0), (1, 0), (1, 1), (0, 1)), np.float32)
    return np.asarray(cv2.convexHull(areas.reshape(-1, 2)), np.float32).reshape(-1, 2)
