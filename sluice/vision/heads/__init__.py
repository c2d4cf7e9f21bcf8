"""The meaning of a model's outputs: one file a task, behind one function.

    view = heads.fit(model, image.shape[:2])  # the image's place on the network's canvas
    canvas = view.apply(image)
    result = heads.decode(model, outputs, DecodeParameters(), view)

No array here has a batch axis, and no function does I/O.
"""

from collections.abc import Callable, Mapping

from sluice.models import Model, Task
from sluice.vision.heads import classify, detect, obb, pose, segment
from sluice.vision.heads.common import Array, Classification, DecodeParameters, Detections, pick
from sluice.vision.letterbox import CentreCrop, Letterbox

__all__ = [
    "Classification",
    "DecodeParameters",
    "Detections",
    "View",
    "decode",
    "decode_fully",
    "fit",
    "needs_raw",
]

View = Letterbox | CentreCrop

_DECODERS = {
    Task.DETECT: detect.decode,
    Task.SEGMENT: segment.decode,
    Task.POSE: pose.decode,
    Task.OBB: obb.decode,
}


def fit(model: Model, source_hw: tuple[int, int]) -> View:
    """Return how `model` sees an image of `source_hw`, (height, width) in pixels.

    `apply` of the result draws the canvas. Raises ValueError if a side is not positive.
    """
    if model.task is Task.CLASSIFY:
        return CentreCrop.fit(source_hw, model.imgsz)
    return Letterbox.fit(source_hw, model.imgsz, model.letterbox)


def decode(
    model: Model,
    outputs: Mapping[str, Array],
    parameters: DecodeParameters,
    view: View,
) -> Detections | Classification:
    """Return the detections or classes of one image, in source pixels.

    `outputs` are the model's outputs by name, without a batch axis, laid out as
    sluice.models.Layout says. `view` is the result of `fit` for the image. Raises UnsupportedModel
    if an output's shape contradicts the model's configuration.
    """
    if isinstance(view, CentreCrop):
        return classify.decode(model, outputs, parameters)
    return _DECODERS[model.task](model, outputs, parameters, view)


def decode_fully(
    model: Model,
    outputs: Mapping[str, Array],
    parameters: DecodeParameters,
    view: View,
    raw_outputs: Callable[[Model], Mapping[str, Array]],
) -> Detections | Classification:
    """Decode, and once more by the model's raw output if candidates don't suffice.

    `raw_outputs` returns the outputs of `model.raw`, which is given to it.
    """
    result = decode(model, outputs, parameters, view)
    raw = model.raw
    if raw and needs_raw(model, outputs, parameters, result):
        return decode(raw, raw_outputs(raw), parameters, view)
    return result


def needs_raw(
    model: Model,
    outputs: Mapping[str, Array],
    parameters: DecodeParameters,
    result: Detections | Classification,
) -> bool:
    """Return True if candidates that the graph left out may belong to the result.

    Then even the last candidate is above the confidence, and detections are missing. The model's
    raw output has all rows; `decode` of `model.raw` reads it.
    """
    if model.raw_layout is None or len(result) >= parameters.max_detections:
        return False
    candidates = pick(model, outputs, 2)
    return bool(len(candidates) and candidates[-1, 4] > parameters.confidence)
