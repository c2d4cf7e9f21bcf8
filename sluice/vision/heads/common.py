"""What all heads share: the request's parameters, the results, and the rows that a model's main output holds."""

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

_BROKEN = 1e6  # no box, keypoint, angle or coefficient is this large; beyond it, as with NaN, a row is no detection


@dataclass(frozen=True)
class DecodeParameters:
    """What a request may ask of a head.

    A detection needs a score strictly greater than `confidence`; `iou` is the overlap beyond which the lesser of two
    boxes of one class (of any class if `class_agnostic`) is dropped; `classes` are the ids to keep, None for all.
    """

    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    class_agnostic: bool = False


@dataclass(frozen=True)
class Detections:
    """n detections in one image, the best first, in source pixels; all arrays are float32 but `class_ids`, int64.

    `boxes` (n, 4): x1, y1, x2, y2, clipped to the image. `scores` (n,), 0 to 1. `class_ids` (n,).
    `keypoints` (n, k, 3), pose only: x, y clipped to the image, and a confidence.
    `rotated` (n, 5) and `corners` (n, 4, 2), obb only, not clipped: centre x, centre y, width, height and the angle
    from the x axis to the width, clockwise as seen, in radians from 0 to below pi/2; and the box's corners in turn.
    `polygons`, segment only: each mask's outline, (m, 2), clipped to the image; m is 0 where a mask is empty.
    """

    boxes: Floats
    scores: Floats
    class_ids: Ints
    keypoints: Floats | None = None
    rotated: Floats | None = None
    corners: Floats | None = None
    polygons: list[Floats] | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Classification:
    """The likeliest classes of one image, the best first: `class_ids` (k,) int64, `scores` (k,) float32 from 0 to 1."""

    class_ids: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Rows:
    """The rows of a model's main output that may become detections; coordinates are network pixels.

    `boxes` (n, 4) float32 as the layout has them: x1, y1, x2, y2 end to end, else centre x, centre y, width, height.
    `scores` (n,) float32, `class_ids` (n,) int64, `extras` (n, e) float32: what the task adds to each row.
    """

    boxes: Floats
    scores: Floats
    class_ids: Ints
    extras: Floats

    def __getitem__(self, index: npt.NDArray[Any]) -> "Rows":
        return Rows(
            self.boxes[index], self.scores[index], self.class_ids[index], self.extras[index]
        )


def pick(model: Model, outputs: Mapping[str, Array], ndim: int) -> Array:
    """The model's first output with `ndim` dimensions: exports may carry others. Raises UnsupportedModel without."""
    found = [outputs[output.name] for output in model.outputs if output.name in outputs]
    for output in found:
        if output.ndim == ndim:
            return output
    shapes = ", ".join(str(output.shape) for output in found) or "no output"
    raise UnsupportedModel(
        f"model {model.name!r}: its task, {model.task}, needs an output of {ndim} dimensions besides the batch's, but"
        f" its outputs are {shapes}; put right its task"
    )


def read_rows(
    model: Model, output: Array, parameters: DecodeParameters, extras: int | None = 0
) -> Rows:
    """The rows of `output`, laid out as `model.layout` says, that pass the confidence and the class filter.

    A row's class is its best class, and its score objectness x class where there is an objectness. `extras` is how
    many values the task adds to each row, None for any number. Rows with a broken number are dropped.
    Raises UnsupportedModel if `output` is not (A, 5+C+extras), (4+C+extras, A) or (K, 6+extras), or if an end-to-end
    head speaks of a class that the model has no name for.
    """
    fixed = _fixed_values(model)
    axis = 0 if model.layout is Layout.ANCHOR_FREE else 1
    if (
        output.ndim != 2
        or output.shape[axis] < fixed
        or extras not in (None, output.shape[axis] - fixed)
    ):
        raise UnsupportedModel(_misfit(model, output, fixed, extras))
    table = output.T if axis == 0 else output

    # One number rules most rows out. Objectness can: a product of two numbers in 0..1 is no greater than either.
    # The best over classes is quick where a class's scores lie side by side, along the first axis.
    first = output[4:fixed].max(axis=0) if model.layout is Layout.ANCHOR_FREE else table[:, 4]
    kept = table[first > parameters.confidence].astype(np.float32)
    if model.layout is Layout.END_TO_END:
        scores, class_ids = kept[:, 4], kept[:, 5]
    elif model.layout is Layout.ANCHOR_FREE:
        scores, class_ids = kept[:, 4:fixed].max(axis=1), kept[:, 4:fixed].argmax(axis=1)
    else:
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is dropped below
            products = kept[:, 5:fixed] * kept[:, 4:5]
        scores, class_ids = products.max(axis=1), products.argmax(axis=1)

    good = (scores > parameters.confidence) & np.isfinite(scores) & np.isfinite(class_ids)
    good &= (np.abs(kept[:, :4]) < _BROKEN).all(axis=1) & (np.abs(kept[:, fixed:]) < _BROKEN).all(
        axis=1
    )
    kept, scores, class_ids = kept[good], scores[good], class_ids[good]
    unknown = class_ids[~np.isin(class_ids, np.arange(len(model.names)))]
    if len(unknown):
        raise UnsupportedModel(
            f"model {model.name!r} found class {unknown[0]:g}, but it names only {len(model.names)} classes;"
            " put right its names or layout"
        )
    rows = Rows(kept[:, :4], scores, class_ids.astype(np.int64), kept[:, fixed:])
    return rows if parameters.classes is None else rows[np.isin(rows.class_ids, parameters.classes)]


def best_rows(
    model: Model, rows: Rows, parameters: DecodeParameters, boxes: Floats, *, rotated: bool = False
) -> Ints:
    """The indices of the rows that stay, the best first: suppressed here, or by the model where it is end to end.

    `boxes`, in network pixels, are as suppress takes them, or suppress_rotated if `rotated`.
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


def _fixed_values(model: Model) -> int:
    """How many values a row has before the task's own."""
    classes = len(model.names)
    return {Layout.ANCHORS: 5 + classes, Layout.ANCHOR_FREE: 4 + classes, Layout.END_TO_END: 6}[
        model.layout
    ]


def _misfit(model: Model, output: Array, fixed: int, extras: int | None) -> str:
    values = f"{fixed} or more" if extras is None else str(fixed + extras)
    expected = f"({values}, anchors)" if model.layout is Layout.ANCHOR_FREE else f"(rows, {values})"
    return (
        f"model {model.name!r} is said to be {model.task}, {model.layout}, with {len(model.names)} classes: its output"
        f" should be {expected}, but it is {output.shape}; put right its task, layout or names"
    )
