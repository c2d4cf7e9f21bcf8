"""Labels of detections: where they stand, so that none covers another, and how they are drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from worker import lettering
from worker.palette import Colour, text_on

_SMALLEST_PX = 9  # smaller letters can't be read
_NAME_CHARACTERS = 60
_BLANK = " \u200c\u200d"
_LISTED = 5  # classes of the whole image
# The parts of a drawing that labels may cover: with large letters, and in all. Labels of hundreds
# of detections would hide the picture.
_LARGE_SHARE, _SHARE = 0.1, 0.25
_ALWAYS = 4  # labels, whatever they cover


@dataclass(frozen=True)
class Subject:
    """A detection, or a class of the whole image, that wants a label."""

    box: tuple[int, int, int, int]
    """The left, top, right and bottom of the detection, in pixels of the drawing."""
    peak: int | None
    """The x of the highest point, in pixels of the drawing; None for an upright box."""
    name: str
    class_id: int
    score: float
    colour: Colour


@dataclass(frozen=True)
class Label:
    """A label in its place. The rectangle is in pixels of the drawing, and inside the drawing."""

    left: int
    top: int
    coverage: lettering.Coverage
    """The text's coverage of each pixel of the rectangle, (height, width), 0 to 255."""
    colour: Colour
    """The colour of the rectangle."""

    @property
    def right(self) -> int:
        return self.left + int(self.coverage.shape[1])

    @property
    def bottom(self) -> int:
        return self.top + int(self.coverage.shape[0])


def letter_size(width: int, height: int) -> int:
    """Return the em of a drawing's labels, in pixels. A strip's labels suit its narrow side."""
    return max(_SMALLEST_PX, round(6 + 0.012 * min(max(width, height), 3 * min(width, height))))


def place(subjects: Sequence[Subject], width: int, height: int) -> list[Label]:
    """Return labels that cover neither each other nor the drawing's edge.

    `subjects` are in order of importance. A label without a free place at its box becomes
    smaller, or loses its score, or is left out.
    Labels that would hide the picture together end the same way.
    `width` and `height` are the drawing's, in pixels.
    """
    size = letter_size(width, height)
    small = max(_SMALLEST_PX, round(0.7 * size))
    taken = _Taken(width, height, max(2, lettering.line_height(small) // 4))
    labels, covered = list[Label](), 0.0
    for subject in subjects:
        if covered > _SHARE and len(labels) >= _ALWAYS:
            break
        for letters, score in ((size, True), (small, True), (small, False)):
            if letters > small and (covered > _LARGE_SHARE or _tiny(subject.box, letters)):
                continue
            coverage = _text(subject, letters, score, width)
            spot = _free_spot(subject, coverage.shape, taken)
            if spot is not None:
                labels.append(Label(*spot, coverage, subject.colour))
                covered += coverage.size / (width * height)
                break
    return labels


def stack(subjects: Sequence[Subject], width: int, height: int) -> list[Label]:
    """Return the labels of the first classes of the whole image: a list at the top left."""
    size, labels, top = letter_size(width, height), list[Label](), 0
    for subject in subjects[:_LISTED]:
        coverage = _text(subject, size, True, width)
        if coverage.shape[1] > width or top + coverage.shape[0] > height:
            break
        labels.append(Label(0, top, coverage, subject.colour))
        top += coverage.shape[0]
    return labels


def draw(image: npt.NDArray[np.uint8], labels: Sequence[Label]) -> None:
    """Draw labels on `image` (height, width, 3) uint8 RGB."""
    for label in labels:
        shades = np.linspace(label.colour, text_on(label.colour), 256).round().astype(np.uint8)
        image[label.top : label.bottom, label.left : label.right] = shades[label.coverage]


class _Taken:
    """The parts of a drawing that have a label, in square cells of some pixels a side."""

    def __init__(self, width: int, height: int, cell: int) -> None:
        self.width, self.height, self._cell = width, height, cell
        self._cells = np.zeros((height // cell + 1, width // cell + 1), bool)

    def take(self, left: int, top: int, width: int, height: int) -> bool:
        """Take a rectangle. Returns False if a part of it is taken already, or not in the image."""
        if left < 0 or top < 0 or left + width > self.width or top + height > self.height:
            return False
        rows = slice(top // self._cell, (top + height - 1) // self._cell + 1)
        columns = slice(left // self._cell, (left + width - 1) // self._cell + 1)
        cells = self._cells[rows, columns]
        if cells.any():
            return False
        cells[...] = True
        return True


def _tiny(box: tuple[int, int, int, int], letters: int) -> bool:
    return max(box[2] - box[0], box[3] - box[1]) < 2 * letters


def _free_spot(subject: Subject, shape: tuple[int, ...], taken: _Taken) -> tuple[int, int] | None:
    """Return the left and top of a free place at a subject for a label of (height, width)."""
    height, width = shape
    return next(
        (
            (left, top)
            for left, top in _spots(subject, width, height, taken.width)
            if taken.take(left, top, width, height)
        ),
        None,
    )


def _spots(
    subject: Subject, width: int, height: int, image_width: int
) -> Iterator[tuple[int, int]]:
    """Yield places at a subject for a label of `width` and `height`, best first: left and top."""
    x1, y1, x2, y2 = subject.box
    start, end = (max(0, min(x, image_width - width)) for x in (x1, x2 - width))
    inside = [(start, y1), (end, y1), (start, y2 - height), (end, y2 - height)]
    roomy = 4 * width * height <= (x2 - x1) * (y2 - y1)
    if subject.peak is not None:
        yield max(0, min(subject.peak - width // 2, image_width - width)), y1 - height
    yield start, y1 - height
    if roomy:
        yield from inside[:1]
    yield from ((start, y2), (end, y1 - height), (end, y2))
    if roomy:
        yield from inside[1:]
    yield from ((x2, y1), (x1 - width, y1), (x2, y2 - height), (x1 - width, y2 - height))
    if not roomy:
        yield from inside


def _text(subject: Subject, letters: int, score: bool, room: int) -> lettering.Coverage:
    """Return a label's rectangle with its text. A long name is cut to `room` pixels."""
    name = _name(subject.name, subject.class_id)
    side = np.zeros((lettering.line_height(letters), max(2, letters // 4)), np.uint8)
    parts = [side, _written(name, letters), side]
    if score:
        parts[2:2] = [side, _written(f"{subject.score:.2f}", letters)]
    room -= sum(part.shape[1] for part in parts) - parts[1].shape[1]
    while (width := parts[1].shape[1]) > room and len(name) > 1:
        name = name[: max(1, min(len(name) - 1, len(name) * room // width))]
        parts[1] = _written(f"{name}…", letters)
    return np.hstack(parts)


def _name(name: str, class_id: int) -> str:
    """Return a class's name as it can be written, and its id where nothing of it can."""
    written = (
        "".join(piece for _, piece in lettering.runs(name)).strip(_BLANK) or f"class {class_id}"
    )
    return written if len(written) <= _NAME_CHARACTERS else f"{written[:_NAME_CHARACTERS]}…"


@lru_cache(maxsize=256)
def _written(text: str, letters: int) -> lettering.Coverage:
    return lettering.draw(text, letters)
