"""The pixels of the cookbook's recipe: base64, letterbox, float32, suppression, drawing, base64.

The usual functions of OpenCV and numpy do the work. Suppression is per class, and goes by the final
score. Nothing here comes from Sluice: the recipe must stand alone.
"""

import base64
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

CONFIDENCE, IOU = 0.25, 0.45
GREY = (114, 114, 114)
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233))

Pixels = npt.NDArray[np.uint8]


class Letterboxed(NamedTuple):
    """A source image on the network's canvas."""

    canvas: Pixels
    """(height, width, 3) uint8 RGB."""
    scale: float
    """Network pixels per source pixel."""
    left: int
    """The image's first column on the canvas, in network pixels."""
    top: int
    """The image's first row on the canvas, in network pixels."""


def read(text: str) -> Pixels:
    """The image in a base64 text, as (height, width, 3) uint8 RGB.

    Raises ValueError if the text is no image.
    """
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("the text is no image")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def letterbox(pixels: Pixels, network_hw: tuple[int, int]) -> Letterboxed:
    """Scale an RGB image to fit the network's (height, width), and pad it with grey."""
    height, width = pixels.shape[:2]
    scale = min(network_hw[0] / height, network_hw[1] / width)
    new_h, new_w = round(height * scale), round(width * scale)
    resized = cv2.resize(pixels, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    top, left = (network_hw[0] - new_h) // 2, (network_hw[1] - new_w) // 2
    bottom, right = network_hw[0] - new_h - top, network_hw[1] - new_w - left
    canvas = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=GREY)
    return Letterboxed(canvas, scale, left, top)  # type: ignore[arg-type]


def tensor(canvas: Pixels, dtype: str) -> npt.NDArray[Any]:
    """The input of the network for one canvas.

    FP32: (1, 3, height, width) from 0 to 1. UINT8: (1, height, width, 3), the canvas itself.
    """
    if dtype == "UINT8":
        return canvas[np.newaxis]
    return np.asarray(cv2.dnn.blobFromImage(canvas, 1 / 255))


def detect(raw: npt.NDArray[Any], boxed: Letterboxed, source_hw: tuple[int, int]) -> list[Any]:
    """The detections in the raw output (1, 4 + classes, anchors) of one image.

    Each is [x1, y1, x2, y2, score, class id], in source pixels, the best score first.
    """
    scores = raw[0, 4:].max(axis=0)
    kept = scores > CONFIDENCE
    if not kept.any():
        return []
    boxes, scores = raw[0, :4, kept], scores[kept]  # (n, 4): centre x, centre y, width, height
    classes = raw[0, 4:, kept].argmax(axis=1)
    boxes[:, :2] -= boxes[:, 2:] / 2
    chosen = cv2.dnn.NMSBoxesBatched(
        boxes,  # type: ignore[arg-type]
        scores,
        classes.astype(np.int32),
        CONFIDENCE,
        IOU,
    )
    boxes[:, 2:] += boxes[:, :2]
    boxes = (boxes - (boxed.left, boxed.top) * 2) / boxed.scale
    limits = (source_hw[1], source_hw[0]) * 2
    found = np.column_stack([np.clip(boxes, 0, limits), scores, classes])
    return found[chosen].tolist()  # type: ignore[no-any-return]


def draw(pixels: Pixels, found: list[Any], names: list[str]) -> str:
    """Draw detections on an RGB image, and return a JPEG of the drawing in base64."""
    for x1, y1, x2, y2, score, number in found:
        colour, corner = COLOURS[int(number) % len(COLOURS)], (int(x1), int(y1))
        cv2.rectangle(pixels, corner, (int(x2), int(y2)), colour, 2)
        text = f"{names[int(number)]} {score:.2f}"
        cv2.putText(pixels, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 1, colour, 2)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return base64.b64encode(data.tobytes()).decode()
