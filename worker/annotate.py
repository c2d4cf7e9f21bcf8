"""Draw a prediction's output on its image, and encode the drawing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from sluice.models import Task
from worker import labels
from worker.palette import COLOURS, WHITE, Colour, colour_of

if TYPE_CHECKING:  # Triton's Python, which draws too, has no pydantic
    from sluice.prediction import OutputFormat

Pixels = npt.NDArray[np.uint8]
Outline = npt.NDArray[np.int32]
Spot = tuple[int, int]

_STRIP_PIXELS = 2**22
_TINT = 0.45  # the part of a mask's colour in the picture
_VISIBLE = 0.5  # the least confidence of a keypoint that is drawn
_FAR = 2**20  # pixels; OpenCV's coordinates have 32 bits

# The keypoints of COCO: nose, then left and right eye, ear, shoulder, elbow, wrist, hip, knee and
# ankle. https://cocodataset.org/#format-data
_PERSON = 17
_NOSE, _SHOULDERS, _HIPS = 0, (5, 6), (11, 12)
_LIMBS = (
    (_NOSE, 1), (_NOSE, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    (5, 7), (7, 9), (6, 8), (8, 10),
    _SHOULDERS, (5, 11), (6, 12), _HIPS,
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
_LEFT, _RIGHT, _MIDDLE = COLOURS[5], COLOURS[1], COLOURS[6]


@dataclass(frozen=True)
class _Encoding:
    """The bounds of a format, and how OpenCV writes it."""

    suffix: str
    flags: tuple[int, ...]
    max_side: int
    """In pixels."""
    max_pixels: int
    """Larger drawings would take seconds, or more memory than a worker should need."""


_ENCODINGS: "Mapping[OutputFormat, _Encoding]" = {
    "jpg": _Encoding(".jpg", (cv2.IMWRITE_JPEG_QUALITY, 90), 65_500, 50_000_000),
    "png": _Encoding(".png", (cv2.IMWRITE_PNG_COMPRESSION, 1), 65_500, 16_000_000),
    "webp": _Encoding(".webp", (cv2.IMWRITE_WEBP_QUALITY, 90), 16_383, 16_000_000),
}


@dataclass(frozen=True)
class _Shape:
    """A detection in pixels of the drawing."""

    subject: labels.Subject
    outlines: list[Outline]
    """(n, 2) x and y: the corners of the box or of the rotated box, or the mask's parts."""
    keypoints: list[Spot | None]
    """x and y of each, in whole pixels; None for one of a low confidence."""
    line: int
    """The width of its lines, in pixels."""


def annotate(
    image: Pixels, output: Mapping[str, Any], task: Task, output_format: "OutputFormat" = "jpg"
) -> bytes:
    """Return a file of `image` with each detection's outline, class and score drawn on it.

    `image` is (height, width, 3) uint8 RGB, and is drawn over. `output` is as `describe` gives it,
    in pixels of `image`. An image that is too large for the format is drawn smaller.
    """
    encoding = _ENCODINGS[output_format]
    image, scale = _fit(image, encoding)
    height, width = image.shape[:2]
    if task is Task.CLASSIFY:
        subjects = [_subject(entry, (0, 0, width, height), None) for entry in output["predictions"]]
        labels.draw(image, labels.stack(subjects, width, height))
        return _encode(image, encoding)
    shapes = [_shape(entry, scale, width, height) for entry in output["predictions"]]
    if task is Task.SEGMENT:
        _tint(image, shapes)
    for shape in reversed(shapes):  # the highest scores come first, and are to lie on top
        cv2.polylines(image, shape.outlines, True, shape.subject.colour, shape.line, cv2.LINE_AA)
    for shape in reversed(shapes):
        _draw_keypoints(image, shape.keypoints, shape.line)
    labels.draw(image, labels.place([shape.subject for shape in shapes], width, height))
    return _encode(image, encoding)


def _fit(image: Pixels, encoding: _Encoding) -> tuple[Pixels, float]:
    """Return the image, or a smaller one within the format's bounds, and its scale."""
    height, width = image.shape[:2]
    scale = min(
        1.0, encoding.max_side / max(height, width), sqrt(encoding.max_pixels / (height * width))
    )
    if scale == 1:
        return image, scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _subject(
    entry: Mapping[str, Any], box: tuple[int, int, int, int], peak: int | None
) -> labels.Subject:
    class_id = entry["class_id"]
    return labels.Subject(
        box, peak, entry["class"], class_id, entry["confidence"], colour_of(class_id)
    )


def _shape(entry: Mapping[str, Any], scale: float, width: int, height: int) -> _Shape:
    """Scale a detection to the drawing of `width` and `height`, and cut its box to it."""
    centre = np.array((entry["x"], entry["y"])) * scale
    half = np.array((entry["width"], entry["height"])) * scale / 2
    limits = (width - 1, height - 1)
    (x1, y1), (x2, y2) = np.clip((centre - half, centre + half), 0, limits).tolist()
    box = (int(x1), int(y1), ceil(x2) + 1, ceil(y2) + 1)
    # The lines of a tiny box would fill it.
    line = min(line_width(width, height), max(1, round(min(x2 - x1, y2 - y1) / 12)))
    peak: int | None = None
    points = entry.get("points", [])
    if points:
        outline = _pixels([(point["x"], point["y"]) for point in points], scale)
        peak = int(np.clip(outline[outline[:, 1].argmin(), 0], 0, width - 1))
        outlines = _parts(outline)
    else:
        outlines = [_pixels([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], 1)]
    keypoints = entry.get("keypoints", [])
    spots = _pixels([(point["x"], point["y"]) for point in keypoints], scale).tolist()
    shown = [
        (x, y) if point["confidence"] >= _VISIBLE else None
        for (x, y), point in zip(spots, keypoints, strict=True)
    ]
    return _Shape(_subject(entry, box, peak), outlines, shown, line)


def _pixels(points: Sequence[tuple[float, float]], scale: float) -> Outline:
    """Return points (n, 2) in whole pixels; OpenCV can't draw to points too far away."""
    return np.rint(np.clip(np.reshape(points, (-1, 2)) * scale, -_FAR, _FAR)).astype(np.int32)


def _parts(outline: Outline) -> list[Outline]:
    """Split a mask's outline where it comes to a point twice.

    An outline of several parts has bridges between them, which are not to be seen.
    """
    parts, walk, seen = [], list[Spot](), dict[Spot, int]()
    for x, y in outline.tolist():
        if (x, y) in seen:
            start = seen[x, y]
            parts.append(walk[start:])
            for point in walk[start + 1 :]:
                del seen[point]
            del walk[start + 1 :]
        else:
            seen[x, y] = len(walk)
            walk.append((x, y))
    parts.append(walk)
    largest = max(parts, key=len)
    return [np.array(part, np.int32) for part in parts if len(part) > 2 or part is largest]


def line_width(width: int, height: int) -> int:
    """Return the width of a drawing's lines, in pixels."""
    return max(1, round(min(max(width, height), 3 * min(width, height)) / 400))


def _tint(image: Pixels, shapes: Sequence[_Shape]) -> None:
    """Fill the outlines, so that the picture shows through. Of two, the higher score is seen.

    A copy is needed, but only of a strip at a time.
    """
    for top, strip in _strips(image):
        layer = strip.copy()
        for shape in reversed(shapes):
            _, y1, _, y2 = shape.subject.box
            if y1 < top + len(strip) and y2 > top:
                for outline in shape.outlines:
                    cv2.fillPoly(layer, [outline], shape.subject.colour, offset=(0, -top))
        cv2.addWeighted(layer, _TINT, strip, 1 - _TINT, 0, dst=strip)


def _draw_keypoints(image: Pixels, keypoints: Sequence[Spot | None], line: int) -> None:
    """Draw the points, and join those of a person. Left and right differ in colour."""
    person = len(keypoints) == _PERSON
    for start, end in _LIMBS if person else ():
        one, other = keypoints[start], keypoints[end]
        if one and other:
            colour = _side(start) if _side(start) == _side(end) else _MIDDLE
            cv2.line(image, one, other, colour, line, cv2.LINE_AA)
    for index, spot in enumerate(keypoints):
        if spot:
            cv2.circle(image, spot, 2 * line, WHITE, -1, cv2.LINE_AA)
            colour = _side(index) if person else colour_of(index)
            cv2.circle(image, spot, max(1, round(1.4 * line)), colour, -1, cv2.LINE_AA)


def _side(index: int) -> Colour:
    """Return the colour of a person's keypoint: left ones have odd numbers."""
    if index == _NOSE:
        return _MIDDLE
    return _LEFT if index % 2 else _RIGHT


def _strips(image: Pixels) -> Iterator[tuple[int, Pixels]]:
    """Yield views of the image's rows, some million pixels each, with their first row's number."""
    rows = max(1, _STRIP_PIXELS // image.shape[1])
    for top in range(0, image.shape[0], rows):
        yield top, image[top : top + rows]


def _encode(image: Pixels, encoding: _Encoding) -> bytes:
    """Return the drawing's file. The image's red and blue change places, for OpenCV."""
    for _, strip in _strips(image):  # a whole copy of a large image would take much memory
        strip[...] = cv2.cvtColor(strip, cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(encoding.suffix, image, encoding.flags)
    if not ok:
        raise RuntimeError(f"OpenCV could not encode {encoding.suffix}")
    return bytes(encoded)
