"""An image in the form that a model takes: its place, its type, and the order of its colours."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sluice.errors import UnsupportedModel
from sluice.models import ChannelOrder, Model
from sluice.vision.letterbox import CentreCrop, Letterbox, Pixels


def fill(
    target: npt.NDArray[Any], view: Letterbox | CentreCrop, image: Pixels, model: Model
) -> None:
    """Draw `image` (height, width, 3) uint8 RGB into the model's input.

    `target` has the input's dims and dtype, and no batch axis. UINT8 gets 0 to 255. FP16 and FP32
    get 0 to the model's `pixel_max`. Raises UnsupportedModel for another dtype.
    """
    if model.channels == 1:
        # The weights of ITU-R BT.601, with which grey models are trained.
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
    if target.dtype == np.uint8 and model.channels_last and not _is_bgr(model):
        view.apply(image, target)
        return
    put(target, view.apply(image), model)


def put(target: npt.NDArray[Any], canvas: Pixels, model: Model) -> None:
    """Write a canvas (height, width, c) uint8, RGB or grey, into the model's input.

    `target`, its values and the errors are those of `fill`.
    """
    bgr = _is_bgr(model)
    if model.channels_last:
        _convert(target, canvas[..., ::-1] if bgr else canvas, model)
        return
    # OpenCV takes the channels apart faster than numpy reads every third byte.
    planes = cv2.split(canvas)
    for plane, channel in zip(target, planes[::-1] if bgr else planes, strict=True):
        _convert(plane, channel, model)


def _convert(target: npt.NDArray[Any], pixels: npt.NDArray[Any], model: Model) -> None:
    if target.dtype == np.uint8 or (target.dtype.kind == "f" and model.pixel_max == 255):
        target[...] = pixels
    elif target.dtype == np.float32:
        np.divide(pixels, np.float32(255), out=target)
    elif target.dtype.kind == "f":
        # Half precision is slow to divide. A table has the 256 quotients.
        table = (np.arange(256, dtype=np.float32) / 255).astype(target.dtype)
        target[...] = table[pixels]
    else:
        raise UnsupportedModel(
            f"model {model.name!r} takes {model.input.dtype}; Sluice sends UINT8, FP16 or FP32"
        )


def _is_bgr(model: Model) -> bool:
    return model.channels == 3 and model.channel_order is ChannelOrder.BGR
