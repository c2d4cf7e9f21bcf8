"""Detections drawn on an image, with Pillow. The service draws finer ones: see `visualize`."""

import colorsys
import io
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from sluice.client.images import read
from sluice.client.results import Detection, Output

_GOLDEN_RATIO = 0.618  # spreads the hues of neighbouring class ids


def draw(image: Any, output: Output) -> "Image.Image":
    """Return a copy of `image`, upright and in RGB, with the detections of `output`.

    Raises ValueError for a URL, or an image of another size than the output's.
    """
    data = read(image)
    if isinstance(data, str):
        raise ValueError("plot needs the image itself, not its URL")
    # The coordinates are those of the upright image, as the service reads EXIF.
    canvas = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if canvas.size != (output.width, output.height):
        raise ValueError(
            f"the image has {canvas.width} by {canvas.height} pixels, and the output is of one"
            f" with {output.width} by {output.height}: plot on the image that was submitted"
        )
    pen = ImageDraw.Draw(canvas, "RGBA")
    line = max(2, round(max(canvas.size) / 400))
    for detection in reversed(output.detections):  # the best on top
        _draw(pen, detection, line)
    return canvas


def _draw(pen: ImageDraw.ImageDraw, detection: Detection, line: int) -> None:
    colour = _colour(detection.class_id)
    if detection.points:
        pen.polygon(detection.points, fill=(*colour, 70), outline=colour, width=line)
    else:
        pen.rectangle(detection.xyxy, outline=colour, width=line)
    for point in detection.keypoints:
        reach = 1.5 * line
        pen.ellipse(
            (point.x - reach, point.y - reach, point.x + reach, point.y + reach), fill=colour
        )
    left, top, _, _ = detection.xyxy
    text, size = f"{detection.class_name} {detection.confidence:.2f}", max(12, 6 * line)
    box = pen.textbbox((max(0, left), max(0, top - 1.3 * size)), text, font_size=size)
    pen.rectangle(box, fill=colour)
    pen.text(box[:2], text, fill="black", font_size=size, anchor="lt")


def _colour(class_id: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
