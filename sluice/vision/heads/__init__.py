"""What a model's outputs mean: one file per task, behind one function.

    view = heads.fit(model, image.shape[:2])        # how the image lies on the network's canvas
    canvas = view.apply(image)
    result = heads.decode(model, outputs, Parameters(), view)

Nothing here has a batch axis, and nothing here does I/O.
"""

from collections.abc import Mapping

from sluice.models import Model, Task
from sluice.vision.heads import classify, detect, obb, pose, segment
from sluice.vision.heads.common import Array, Classification, DecodeParameters, Detections
from sluice.vision.letterbox import CentreCrop, Letterbox

__all__ = ["Classification", "DecodeParameters", "Detections", "decode", "fit"]

_DECODERS = {
    Task.DETECT: detect.decode,
    Task.SEGMENT: segment.decode,
    Task.POSE: pose.decode,
    Task.OBB: obb.decode,
}


def fit(model: Model, source_hw: tuple[int, int]) -> Letterbox | CentreCrop:
    """How an image of `source_hw`, (height, width) in pixels, is shown to `model`; its `apply` draws the canvas.

    Raises ValueError if a side is not positive.
    """
    if model.task is Task.CLASSIFY:
        return CentreCrop.fit(source_hw, model.imgsz)
    return Letterbox.fit(source_hw, model.imgsz)


def decode(
    model: Model,
    outputs: Mapping[str, Array],
    parameters: DecodeParameters,
    view: Letterbox | CentreCrop,
) -> Detections | Classification:
    """What `model` saw in one image.

    `outputs` are the model's outputs by name, without a batch axis, as sluice.models.Layout describes them; `view` is
    what `fit` gave for the image. Coordinates in the result are source pixels.
    Raises UnsupportedModel if an output's shape does not fit what the model says of itself.
    """
    if isinstance(view, CentreCrop):
        return classify.decode(model, outputs, parameters)
    return _DECODERS[model.task](model, outputs, parameters, view)
