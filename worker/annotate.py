"""Draw a prediction's output on its image."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# RGB. The palette of Okabe and Ito, which colour-blind people can tell apart too:
# https://jfly.uni-koeln.de/color/
_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
)
_JPEG_QUALITY = 90


def annotate(image: npt.NDArray[np.uint8], output: Mapping[str, Any]) -> bytes:
    """Return a JPEG of `image` with each detection's outline, class and score.

    `image` is (height, width, 3) uint8 RGB, and is drawn over.
    """
    height, width = image.shape[:2]
    thickness = max(1, round(max(height, width) / 500))
    scale = max(0.4, max(height, width) / 1600)
    for line, entry in enumerate(output["predictions"]):
        colour = _COLOURS[entry["class_id"] % len(_COLOURS)]
        if "x" not in entry:  # a class of the whole image has no box
            if line < 5:
                _label(image, entry, (4, int((line + 1) * 28 * scale)), colour, scale)
            continue
        left, top = entry["x"] - entry["width"] / 2, entry["y"] - entry["height"] / 2
        corners = [(left, top), (left + entry["width"], top + entry["height"])]
        points = [(point["x"], point["y"]) for point in entry.get("points", [])]
        if points:
            cv2.polylines(
                image, [np.rint(points).astype(np.int32)], True, colour, thickness, cv2.LINE_AA
            )
        else:
            (x1, y1), (x2, y2) = ((round(x), round(y)) for x, y in corners)
            cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        for point in entry.get("keypoints", []):
            cv2.circle(
                image,
                (round(point["x"]), round(point["y"])),
                2 * thickness,
                colour,
                -1,
                cv2.LINE_AA,
            )
        _label(
            image,
            entry,
            (max(0, round(left)), max(round(20 * scale), round(top) - thickness)),
            colour,
            scale,
        )
    ok, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not ok:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return bytes(encoded)


def _label(
    image: npt.NDArray[np.uint8],
    entry: Mapping[str, Any],
    at: tuple[int, int],
    colour: tuple[int, int, int],
    scale: float,
) -> None:
    """Draw the class and the score on a filled box whose lower left corner is `at`."""
    text = f"{entry['class']} {entry['confidence']:.2f}"
    (wide, high), below = cv2.getTextSize(
        text, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, round(scale))
    )
    x, y = at
    cv2.rectangle(image, (x, y - high - below), (x + wide, y), colour, -1)
    cv2.putText(
        image,
        text,
        (x, y - below // 2),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        max(1, round(scale)),
        cv2.LINE_AA,
    )
