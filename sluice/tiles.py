"""The tiles that a large image is cut into. Pure arithmetic: the api counts with it, too."""

import math
from typing import NamedTuple

MIN_SIDE, MAX_SIDE = 32, 16_384
"""A tile's side in pixels."""
MAX_OVERLAP = 0.8
"""The greatest fraction of a tile that neighbours may share."""


class Tile(NamedTuple):
    """A part of an image, in pixels of the upright image."""

    top: int
    left: int
    height: int
    width: int


def cut(image_hw: tuple[int, int], size_hw: tuple[int, int], overlap: float) -> list[Tile]:
    """Return tiles that cover the image, row by row.

    `image_hw` and `size_hw` are (height, width). Neighbours share at least the fraction `overlap`
    of a tile, 0 <= overlap < 1, spread evenly. No tile reaches beyond the image: an image that is
    smaller than a tile in one direction has smaller tiles in that direction.
    """
    rows = _starts(image_hw[0], size_hw[0], overlap)
    columns = _starts(image_hw[1], size_hw[1], overlap)
    height, width = min(image_hw[0], size_hw[0]), min(image_hw[1], size_hw[1])
    return [Tile(top, left, height, width) for top in rows for left in columns]


def count(image_hw: tuple[int, int], size_hw: tuple[int, int], overlap: float) -> int:
    """Return the number of tiles, without making them: a long strip may have millions."""
    return _count(image_hw[0], size_hw[0], overlap) * _count(image_hw[1], size_hw[1], overlap)


def _count(length: int, size: int, overlap: float) -> int:
    if length <= size:
        return 1
    step = max(1, math.floor(size * (1 - overlap)))
    return math.ceil((length - size) / step) + 1


def _starts(length: int, size: int, overlap: float) -> list[int]:
    number = _count(length, size, overlap)
    if number == 1:
        return [0]
    return [round(index * (length - size) / (number - 1)) for index in range(number)]
