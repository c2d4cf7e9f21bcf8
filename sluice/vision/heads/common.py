"""Shared by all heads: the request's parameters, the results, and the rows of a model's output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model
from sluice.vision.boxes import Floats, Ints
from sluice.vision.suppression import suppress, suppress_rotated

Array = npt.NDArray[Any]

# No box, keypoint, angle or coefficient is this large. A row with a larger number is broken.
_BROKEN = 1e6


@dataclass(frozen=True)
class DecodeParameters:
    """The request's parameters for a head."""

    confidence: float = 0.25
    """A detection's score is strictly greater."""
    iou: float = 0.45
    """Of two boxes of one class that overlap by more, the weaker is dropped."""
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    """The class ids to keep, None for all."""
    class_agnostic: bool = False
    """Drop overlapping boxes of different classes too."""


@dataclass(frozen=True)
class Detections:
    """n detections in one image, the best first, in source pixels."""

    boxes: Floats
    """(n, 4) float32: x1, y1, x2, y2, clipped to the image."""
    scores: Floats
    """(n,) float32, from 0 to 1."""
    class_ids: Ints
    """(n,) int64."""
    keypoints: Floats | None = None
    """(n, k, 2 or 3) float32, for pose: x and y, clipped to the image, and any confidence."""
    rotated: Floats | None = None
    """(n, 5) float32, for obb, not clipped: centre x, centre y, width, height and an angle.

    The angle is in radians from 0 to below pi/2.
    The direction is from the x axis to the width, clockwise on the screen.
    """
    corners: Floats | None = None
    """(n, 4, 2) float32, for obb, not clipped: the corners of each rotated box, in turn."""
    polygons: list[Floats] | None = None
    """n outlines (m, 2) float32, for segment, clipped to the image; m is 3 or more."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Classification:
    """The k likeliest classes of one image, the best first."""

    class_ids: Ints
    """(k,) int64."""
    scores: Floats
    """(k,) float32, from 0 to 1."""

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Rows:
    """n rows of a model's main output, candidates for detections, in network pixels."""

    boxes: Floats
    """(n, 4) float32: x1, y1, x2, y2 end to end, else centre x, centre y, width, height."""
    scores: Floats
    """(n,) float32."""
    class_ids: Ints
    """(n,) int64."""
    extras: Floats
    """(n, e) float32: the values that the task adds to each row."""

    def __getitem__(self, index: npt.NDArray[Any]) -> "Rows":
        return Rows(
            self.boxes[index], self.scores[index], self.class_ids[index], self.extras[index]
        )


def pick(model: Model, outputs: Mapping[str, Array], ndim: int) -> Array:
    """Return the model's first output with `ndim` dimensions; exports may carry more outputs.

    Raises UnsupportedModel where there is none.
    """
    arrays = [outputs[output.name] for output in model.outputs if output.name in outputs]
    for array in arrays:
        if array.ndim == ndim:
            return array
    shapes = ", ".join(str(array.shape) for array in arrays) or "no output"
    raise UnsupportedModel(
        f"model {model.name!r}: its task, {model.task}, needs an output of {ndim} dimensions"
        f" besides the batch's, but its outputs are {shapes}; correct its task"
    )


def read_rows(
    model: Model, output: Array, parameters: DecodeParameters, extras: int | None = 0
) -> Rows:
    """Return the rows of `output` that pass the confidence and the class filter.

    A row's class is its best class. A row's score is the score of that class, times the objectness
    if there is one. `extras` is the number of values that the task adds to each row, None for any
    number. Rows with a broken number are dropped.

    Raises UnsupportedModel if `output`, by `model.layout`, is not (A, 5+C+extras), (4+C+extras, A)
    or (K, 6+extras). Raises it too if a row names its class, and that class has no name.
    """
    fixed = model.fixed_values
    axis = 0 if model.layout is Layout.ANCHOR_FREE else 1
    if (
        output.ndim != 2
        or output.shape[axis] < fixed
        or extras not in (None, output.shape[axis] - fixed)
    ):
        raise UnsupportedModel(_misfit(model, output, fixed, extras))
    table = output.T if axis == 0 else output

    # One number excludes most rows. With anchors it is the objectness: the product of two
    # numbers from 0 to 1 is never greater than either. Anchor-free, it is the best class score,
    # whose maximum is fast along the first axis.
    first = output[4:fixed].max(axis=0) if model.layout is Layout.ANCHOR_FREE else table[:, 4]
    kept = table[first > parameters.confidence].astype(np.float32)
    if model.layout in (Layout.END_TO_END, Layout.CANDIDATES):
        scores, class_ids = kept[:, 4], kept[:, 5]
    elif model.layout is Layout.ANCHOR_FREE:
        scores, class_ids = kept[:, 4:fixed].max(axis=1), kept[:, 4:fixed].argmax(axis=1)
    else:
        with np.errstate(invalid="ignore", over="ignore"):  # infinite products are dropped below
            products = kept[:, 5:fixed] * kept[:, 4:5]
        scores, class_ids = products.max(axis=1), products.argmax(axis=1)

    good = (scores > parameters.confidence) & np.isfinite(scores) & np.isfinite(class_ids)
    good &= (np.abs(kept[:, :4]) < _BROKEN).all(axis=1) & (np.abs(kept[:, fixed:]) < _BROKEN).all(
        axis=1
    )
    kept, scores, class_ids = kept[good], scores[good], class_ids[good]
    unknown = class_ids[
        (class_ids < 0) | (class_ids >= len(model.names)) | (class_ids != np.floor(class_ids))
    ]
    if len(unknown):
        raise UnsupportedModel(
            f"model {model.name!r} found class {unknown[0]:g}, but it names only"
            f" {len(model.names)} classes; correct its names or layout"
        )
    rows = Rows(kept[:, :4], scores, class_ids.astype(np.int64), kept[:, fixed:])
    return rows if parameters.classes is None else rows[np.isin(rows.class_ids, parameters.classes)]


def best_rows(
    model: Model, rows: Rows, parameters: DecodeParameters, boxes: Floats, *, rotated: bool = False
) -> Ints:
    """Return the indices of the rows that remain after suppression, int64, the best first.

    An end-to-end model has suppressed already. `boxes`, in network pixels, have the form that
    suppress takes, or suppress_rotated if `rotated`.
    """
    if model.layout is Layout.END_TO_END:
        return np.argsort(-rows.scores, kind="stable")[: parameters.max_detections]
    return (suppress_rotated if rotated else suppress)(
        boxes,
        rows.scores,
        rows.class_ids,
        iou=parameters.iou,
        max_detections=parameters.max_detections,
        class_agnostic=parameters.class_agnostic,
    )


def _misfit(model: Model, output: Array, fixed: int, extras: int | None) -> str:
    values = f"{fixed} or more" if extras is None else str(fixed + extras)
    expected = f"({values}, anchors)" if model.layout is Layout.ANCHOR_FREE else f"(rows, {values})"
    return (
        f"model {model.name!r} is configured as {model.task}, {model.layout}, with"
        f" {len(model.names)} classes: its output should be {expected}, but it is {output.shape};"
        " correct its task, layout or names"
    )
