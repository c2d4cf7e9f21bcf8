"""Three large pictures with codes of 10 to 300 pixels on busy ground, each with its true boxes.

The things and the grounds are those of `tools/codes`, drawn at a camera's resolution. The ground of
`sheet` is of a family that the shipped model never saw in training.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tools.codes import backgrounds, carriers, clutter
from tools.codes.samples import develop
from tools.codes.scenes import MIN_CONTRAST, MIN_SIDE, PIXEL_SIGMA, Placed, Scene, lay, tilt
from tools.codes.symbols import QR
from tools.codes.things import Image, Maker, Rng, Thing

HEIGHT, WIDTH = 3000, 4000
BLUR = 0.7
"""The camera's blur in pixels: see `develop`."""
SIZES = ((14, 24, 110), (24, 40, 80), (40, 80, 50), (80, 160, 20), (160, 300, 6))
"""The smallest and the largest width of a code, and how many things carry one."""
CLUTTER = 60
"""Things that carry no code, though some look like one."""
TRIES = 80


@dataclass(frozen=True)
class Kind:
    """A sort of scene."""

    ground: Callable[[Rng, int, int], Image]
    makers: tuple[Maker, ...]
    spins: tuple[float, ...]
    """Turns in the plane, in radians. Empty: any."""
    lean: float
    """The standard deviation of the tilt towards the camera, in radians."""


KINDS = {
    "shelf": Kind(
        backgrounds.shelf,
        (carriers.sticker, carriers.parcel, carriers.product, carriers.bare),
        (0.0, 0.0, 0.03, -0.04),
        0.1,
    ),
    "sheet": Kind(
        backgrounds.terrazzo,
        (carriers.bare, carriers.sticker, carriers.card, carriers.receipt),
        (0.0, np.pi / 2, np.pi, -np.pi / 2),
        0.0,
    ),
    "field": Kind(
        backgrounds.foliage,
        (carriers.bare, carriers.board, carriers.card, carriers.screen),
        (),
        0.2,
    ),
}


def render(name: str) -> Scene:
    """Return the scene, the same ever."""
    kind, rng = KINDS[name], np.random.default_rng([12, list(KINDS).index(name)])
    image = np.ascontiguousarray(kind.ground(rng, HEIGHT, WIDTH))
    jobs: list[tuple[Maker, float]] = []
    for low, high, count in reversed(SIZES):
        for _ in range(count):
            size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            jobs.append((kind.makers[rng.integers(len(kind.makers))], size))
    for _ in range(CLUTTER):
        jobs.append((clutter.TRAIN[rng.integers(len(clutter.TRAIN))], rng.uniform(60, 200)))
    taken: list[npt.NDArray[np.float64]] = []
    rows = [row for maker, size in jobs for row in _place(rng, image, kind, maker, size, taken)]
    table = np.array(rows, np.float32).reshape(-1, 6)
    picture = develop(rng, image, 0.02, False)
    return Scene(picture, table[:, :4], table[:, 4].astype(np.int64), table[:, 5] > 0)


def _place(
    rng: Rng,
    image: Image,
    kind: Kind,
    maker: Maker,
    size: float,
    taken: list[npt.NDArray[np.float64]],
) -> list[tuple[float, ...]]:
    """Draw one thing where nothing is yet, and return its codes' labels.

    A crowded scene may have no such place: then nothing is drawn.
    """
    over = min(1.6, max(0.8, 500 / size))
    thing = maker(rng, max(8.0, size * over))
    height, width = thing.alpha.shape
    hull = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
    for _ in range(TRIES):
        spin = rng.choice(kind.spins) if kind.spins else rng.uniform(-np.pi, np.pi)
        lean, turn = (rng.normal(0, kind.lean, 2)).clip(-0.6, 0.6)
        centre = (rng.uniform(0.02, 0.98, 2) * (WIDTH, HEIGHT)).astype(np.float32)
        matrix = tilt(rng, height, width, centre, 1 / over, spin, lean, turn)
        quad = cv2.perspectiveTransform(hull, matrix)[0].astype(np.float64)
        box = np.concatenate((quad.min(axis=0) - 6, quad.max(axis=0) + 6))
        inside = (box[:2] > 0).all() and (box[2:] < (WIDTH, HEIGHT)).all()
        if inside and not any((box[:2] < b[2:]).all() and (b[:2] < box[2:]).all() for b in taken):
            taken.append(box)
            return _draw(rng, image, thing, matrix, box)
    return []


def _draw(
    rng: Rng,
    image: Image,
    thing: Thing,
    matrix: npt.NDArray[np.float64],
    box: npt.NDArray[np.float64],
) -> list[tuple[float, ...]]:
    left, top, right, bottom = box.astype(int).tolist()
    local = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ matrix
    placed: list[Placed] = []
    shadow = rng.uniform(0, 0.6) * (rng.random() < 0.6)
    lay(image[top : bottom + 1, left : right + 1], placed, thing, local, shadow, 1.0)
    return [_label(item, left, top) for item in placed]


def _label(item: Placed, left: int, top: int) -> tuple[float, ...]:
    """Box, class, and 1 for a code that is too small or too pale, by the rule of training."""
    outline = item.outline + np.array((left, top), np.float32)
    low, high = outline.min(axis=0), outline.max(axis=0)
    period = item.code.module * item.shrink * (6 if item.code.symbol.kind == QR else 4)
    spread = np.hypot(BLUR, PIXEL_SIGMA)
    contrast = item.code.contrast * np.exp(-2 * (np.pi * spread / max(period, 1e-3)) ** 2)
    ignored = (high - low).min() < MIN_SIDE or contrast < MIN_CONTRAST
    return (*low, *high, item.code.symbol.kind, float(ignored))
