"""Straight and rotated boxes, and their overlaps. Arrays in, arrays out."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def xywh_to_xyxy(boxes: Floats) -> Floats:
    """Convert boxes (n, 4) from centre x, centre y, width, height to x1, y1, x2, y2.

    Both arrays are float32, in any frame.
    """
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def rotated_corners(boxes: Floats) -> Floats:
    """Return the corners (n, 4, 2) of rotated boxes (n, 5), both float32, in any frame.

    A box is centre x, centre y, width, height and an angle in radians. The angle goes from the
    x axis to the width, clockwise on the screen. The corners go round the box. The first corner is
    the one at +width/2, +height/2.
    """
    cosine, sine = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along = np.stack((cosine, sine), axis=1) * boxes[:, 2:3] / 2
    across = np.stack((-sine, cosine), axis=1) * boxes[:, 3:4] / 2
    steps = np.stack((along + across, along - across, -along - across, across - along), axis=1)
    return (boxes[:, None, :2] + steps).astype(np.float32)


def box_iou(a: Floats, b: Floats) -> Floats:
    """Return the intersection over union of boxes a (n, 4) and b (m, 4): (n, m) float32.

    Boxes are x1, y1, x2, y2 in one frame. A box without area overlaps nothing, not even itself.
    """
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    iou: Floats = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return iou


def _area(boxes: Floats) -> Floats:
    area: Floats = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(
        boxes[:, 3] - boxes[:, 1], 0
    )
    return area


def rotated_iou(a: Floats, b: Floats) -> Floats:
    """Return the ProbIoU of rotated boxes a (n, 5) and b (m, 5): (n, m) float32 from 0 to 1.

    Boxes are centre x, centre y, width, height and radians. ProbIoU is not the overlap of areas.
    Each box is taken for a Gaussian, and ProbIoU is 1 minus the Hellinger distance of the two. The
    Hellinger distance follows from the Bhattacharyya distance: Llerena et al., "Gaussian Bounding
    Boxes and Probabilistic Intersection-over-Union for Object Detection",
    https://arxiv.org/abs/2106.06072
    """
    xx_a, yy_a, xy_a = (part[:, None] for part in _covariance(a))
    xx_b, yy_b, xy_b = (part[None, :] for part in _covariance(b))
    xx, yy, xy = xx_a + xx_b, yy_a + yy_b, xy_a + xy_b
    dx, dy = a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]
    tiny = np.finfo(np.float64).tiny
    determinant = np.maximum(xx * yy - xy**2, tiny)
    product = np.maximum(xx_a * yy_a - xy_a**2, 0) * np.maximum(xx_b * yy_b - xy_b**2, 0)
    apart = (yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / (4 * determinant)
    unlike = np.log(np.maximum(determinant / np.maximum(4 * np.sqrt(product), tiny), 1)) / 2
    overlap: Floats = (1 - np.sqrt(1 - np.exp(-(apart + unlike)))).astype(np.float32)
    return overlap


def _covariance(boxes: Floats) -> tuple[npt.NDArray[np.float64], ...]:
    """Return xx, yy and xy, each (n,), of rotated boxes (n, 5) taken for Gaussians.

    A uniform distribution of width s has the variance s²/12.
    """
    width, height = (
        boxes[:, 2].astype(np.float64) ** 2 / 12,
        boxes[:, 3].astype(np.float64) ** 2 / 12,
    )
    cosine, sine = np.cos(boxes[:, 4].astype(np.float64)), np.sin(boxes[:, 4].astype(np.float64))
    return (
        width * cosine**2 + height * sine**2,
        width * sine**2 + height * cosine**2,
        (width - height) * cosine * sine,
    )
