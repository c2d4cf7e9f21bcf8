"""Whole scenes with their labels, and the letterbox that brings them to the network.

A label is the tight axis-aligned box of a code's projected corners, clipped to the frame. Quiet
zone and human-readable digits are left out.

A code that is too hard to find is marked *ignored*: neither wanted nor punished, in training and in
evaluation. The reasons are:

- The box is under `MIN_SIDE` network pixels on the short side.
- Less than `MIN_VISIBLE` of the code is seen; the rest is covered or outside the frame.
- The contrast after blur and scaling is under `MIN_CONTRAST`.

The contrast is light minus dark (0..1), times exp(-2 (pi s / P)^2). The factor is the response of a
Gaussian of s network pixels at the period P. P is the period of the code's coarse structure: 6
modules for a QR code, by its finder patterns, and 4 for bars and markers.

A code of which less than `MIN_TRACE` is seen does not count at all.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.codes import PAD_VALUE, SIZE, backgrounds, clutter, photo
from tools.codes.carriers import CARRIERS, WEIGHTS
from tools.codes.symbols import QR
from tools.codes.things import Code, Image, Points, Rng, Thing

MIN_SIDE, MIN_VISIBLE, MIN_TRACE, MIN_CONTRAST = 10.0, 0.5, 0.1, 0.06
PIXEL_SIGMA = 0.35
"""The blur of a network pixel itself, in network pixels."""
ASPECTS = ((3, 4), (4, 3), (9, 16), (16, 9), (1, 1), (2, 3), (3, 2))
"""Height to width of scenes."""


@dataclass
class Placed:
    """A code in the scene."""

    code: Code
    outline: Points
    """Points along the border (n, 2), in scene pixels."""
    seen: Image
    """The visible part, as a mask at a quarter of the scene's resolution."""
    area: float
    """Pixels of that mask when nothing covers or crops the code."""
    shrink: float
    """Scene pixels per pixel of the code's thing."""


@dataclass
class Scene:
    """An RGB photo (h, w, 3) uint8 with its labels.

    `boxes` (m, 4) are in scene pixels; `kinds` are (m,) int64; `ignored` are (m,) bool.
    """

    image: Image
    boxes: Points = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    kinds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


def tilt(
    rng: Rng, h: int, w: int, centre: Points, size: float, spin: float, lean: float, turn: float
) -> NDArray[np.float64]:
    """The homography from a thing of (h, w) to the scene, before a pinhole camera.

    The thing is turned in its plane by `spin`, then leant about x and turned about y, in radians.
    `size` is scene pixels per thing pixel at the thing's centre. The centre lands at `centre` (2,).
    """
    cx, sx, cy, sy, cz, sz = (
        np.cos(lean),
        np.sin(lean),
        np.cos(turn),
        np.sin(turn),
        np.cos(spin),
        np.sin(spin),
    )
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    far = rng.uniform(2.0, 5.0) * max(h, w)
    pose = (about_y @ about_x @ about_z)[:, :2] @ np.array([[1, 0, -w / 2], [0, 1, -h / 2]])
    pose[2] = pose[2] / far + np.array([0, 0, 1])
    return np.array([[size, 0, centre[0]], [0, size, centre[1]], [0, 0, 1]]) @ pose


def border(corners: Points, per_side: int = 6) -> Points:
    """Points along a polygon (n, 2). More than the corners: bending turns sides into curves."""
    t = np.arange(per_side, dtype=np.float32)[:, None] / per_side
    return np.concatenate(
        [a + (b - a) * t for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )


def bend(thing: Thing, bow: float, wrap: float) -> None:
    """Roll a thing around an upright cylinder, in place.

    `wrap` is half the angle in radians. `bow` is the rise of the middle, seen from above, as a
    share of the width. Outlines become `border` points.
    """
    h, w = thing.image.shape[:2]
    middle, radius, rise = w / 2, w / 2 / np.sin(wrap), bow * w
    x = np.arange(w, dtype=np.float32)
    offset = (rise * (1 - ((x - middle) / middle) ** 2)).astype(np.float32)
    source = (middle + np.arcsin(np.clip((x - middle) / radius, -1, 1)) * (middle / wrap)).astype(
        np.float32
    )
    pad = int(abs(rise)) + 1
    map_x = np.repeat(source[None], h + 2 * pad, 0)
    map_y = np.arange(h + 2 * pad, dtype=np.float32)[:, None] - pad - offset[None]
    thing.image = cv2.remap(
        thing.image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    thing.alpha = cv2.remap(thing.alpha, map_x, map_y, cv2.INTER_LINEAR)
    for code in thing.codes:
        points = border(code.outline)
        u = middle + radius * np.sin((points[:, 0] - middle) * (wrap / middle))
        v = points[:, 1] + rise * (1 - ((u - middle) / middle) ** 2) + pad
        code.outline = np.stack([u, v], 1).astype(np.float32)


def lay(
    image: Image,
    placed: list[Placed],
    thing: Thing,
    matrix: NDArray[np.float64],
    shadow: float,
    scale: float,
) -> None:
    """Draw a thing into the scene, in place; record its codes, and cover those below."""
    h, w = image.shape[:2]
    th, tw = thing.alpha.shape
    hull = cv2.perspectiveTransform(
        np.array([[[0, 0], [tw, 0], [tw, th], [0, th]]], np.float32), matrix
    )[0]
    reach = int(6 + 0.03 * max(h, w))
    x0, y0 = np.maximum(0, np.floor(hull.min(0)).astype(int) - reach)
    x1, y1 = np.minimum((w, h), np.ceil(hull.max(0)).astype(int) + reach)
    if x1 <= x0 or y1 <= y0:
        return
    local = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ matrix
    roi = (int(x1 - x0), int(y1 - y0))
    alpha = cv2.warpPerspective(thing.alpha, local, roi, flags=cv2.INTER_LINEAR)
    warped = cv2.warpPerspective(
        thing.image, local, roi, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    view = image[y0:y1, x0:x1]
    if shadow > 0:
        shift = reach * 0.25
        dark = cv2.warpAffine(alpha, np.array([[1, 0, shift], [0, 1, shift]], np.float32), roi)
        dark = cv2.GaussianBlur(dark, (0, 0), reach * 0.3)
        view[:] = view * (1 - dark[..., None] * np.float32(shadow / 255))
    mix = alpha[..., None] * np.float32(1 / 255)
    view[:] = view + (warped.astype(np.float32) - view) * mix
    cover = np.zeros((h, w), np.uint8)
    cover[y0:y1, x0:x1] = alpha
    cover = cv2.resize(cover, (w // 4, h // 4), interpolation=cv2.INTER_NEAREST) > 127
    for other in placed:
        other.seen[cover] = 0
    for code in thing.codes:
        outline = cv2.perspectiveTransform(border(code.outline)[None], matrix)[0]
        seen = np.zeros((h // 4, w // 4), np.uint8)
        cv2.fillPoly(seen, [np.round(outline * 4).astype(np.int32)], 1, shift=4)
        area = float(cv2.contourArea(outline)) / 16
        flat = float(cv2.contourArea(code.outline))
        placed.append(
            Placed(code, outline, seen, max(area, 1e-3), float(np.sqrt(area * 16 / max(flat, 1))))
        )


def label(
    placed: list[Placed], h: int, w: int, sigma: float
) -> tuple[Points, NDArray[np.int64], NDArray[np.bool_]]:
    """Boxes, classes and ignore flags by the rules of this module.

    `sigma` is the blur in network pixels.
    """
    scale, rows = SIZE / max(h, w), []
    for item in placed:
        seen = (
            min(1.0, float(item.seen.sum()) / item.area)
            if item.area > 4
            else float(item.seen.any())
        )
        low = np.clip(item.outline.min(0), 0, (w, h))
        high = np.clip(item.outline.max(0), 0, (w, h))
        side = float((high - low).min()) * scale
        if seen < MIN_TRACE or side <= 1:
            continue
        period = item.code.module * item.shrink * scale * (6 if item.code.symbol.kind == QR else 4)
        spread = np.hypot(sigma, PIXEL_SIGMA)
        left = item.code.contrast * np.exp(-2 * (np.pi * spread / max(period, 1e-3)) ** 2)
        ignored = side < MIN_SIDE or seen < MIN_VISIBLE or left < MIN_CONTRAST
        rows.append((*low, *high, item.code.symbol.kind, ignored))
    table = np.array(rows, np.float32).reshape(-1, 6)
    return table[:, :4], table[:, 4].astype(np.int64), table[:, 5] > 0


def render(rng: Rng, held_out: bool = False) -> Scene:
    """A random scene.

    `held_out` takes backgrounds and clutter from the families that training never shows.
    """
    tall, wide = ASPECTS[rng.integers(len(ASPECTS))]
    side = SIZE * rng.uniform(0.9, 1.9)
    h, w = (int(side * x / max(tall, wide)) // 4 * 4 for x in (tall, wide))
    families = backgrounds.HELD_OUT if held_out else backgrounds.TRAIN
    image = families[rng.integers(len(families))](rng, h, w)
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), side * rng.uniform(0.002, 0.015))
    scale, placed, taken = SIZE / side, [], []
    count = int(rng.choice([0, 1, 2, 3, 4, 5, 7], p=[0.06, 0.24, 0.25, 0.18, 0.12, 0.1, 0.05]))
    largest = 0.72 * SIZE / max(1.0, count * 0.6)
    jobs = [True] * count + [False] * int(
        rng.choice([0, 1, 2, 3, 5, 8], p=[0.1, 0.2, 0.25, 0.2, 0.15, 0.1])
    )
    rng.shuffle(jobs)
    for carries in jobs:
        size = float(np.exp(rng.uniform(np.log(13), np.log(max(40.0, largest))))) / scale
        over = min(rng.uniform(0.8, 2.2), max(0.8, 500 / size))
        if carries:
            maker = CARRIERS[rng.choice(len(CARRIERS), p=WEIGHTS)]
        else:
            # Half of a held-out scene's clutter is of held-out kinds. All of it would look odd.
            makers = clutter.HELD_OUT if held_out and rng.random() < 0.5 else clutter.TRAIN
            maker, size = makers[rng.integers(len(makers))], size * rng.uniform(1, 2)
        thing = maker(rng, max(8.0, size * over))
        if thing.codes and rng.random() < 0.1:
            bend(thing, rng.uniform(-0.12, 0.12), rng.uniform(0.3, 1.2))
        matrix = pose(rng, thing, h, w, 1 / over, taken)
        lay(image, placed, thing, matrix, rng.uniform(0, 0.7) * (rng.random() < 0.6), scale)
    image = photo.light(rng, image)
    image, sigma = photo.blur(rng, image, scale)
    image = photo.sensor(rng, image)
    return Scene(image, *label(placed, h, w, sigma))


def pose(
    rng: Rng, thing: Thing, h: int, w: int, size: float, taken: list[Points]
) -> NDArray[np.float64]:
    """A random homography: of some tries, the one that covers the least of the boxes in `taken`.

    The new box is added to `taken`.
    """
    th, tw = thing.alpha.shape
    hull = np.array([[[0, 0], [tw, 0], [tw, th], [0, th]]], np.float32)
    best, least = None, np.inf
    for _ in range(6):
        spin = rng.normal(0, 0.12) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
        lean, turn = rng.normal(0, 0.35, 2).clip(-0.95, 0.95)
        centre = rng.uniform(0.03, 0.97, 2) * (w, h)
        matrix = tilt(rng, th, tw, centre.astype(np.float32), size, spin, lean, turn)
        quad = cv2.perspectiveTransform(hull, matrix)[0]
        box = np.concatenate([quad.min(0), quad.max(0)])
        cost = sum(
            float(
                np.prod(np.clip(np.minimum(box[2:], t[2:]) - np.maximum(box[:2], t[:2]), 0, None))
                / max(1.0, np.prod(t[2:] - t[:2]))
            )
            for t in taken
        )
        for code in thing.codes:
            middle = cv2.perspectiveTransform(code.outline.mean(0)[None, None], matrix)[0, 0]
            cost += 0.5 * float(((middle < 0) | (middle > (w, h))).any())
        if cost < least:
            best, least, box_best = matrix, cost, box
        if cost < 0.02:
            break
    taken.append(box_best)
    return best


def letterbox(image: Image, size: int = SIZE) -> tuple[Image, float, tuple[int, int]]:
    """Scale to fit `size` (bilinear), centred on grey.

    Returns the image (size, size, 3), the scale, and the left and top pad.
    """
    h, w = image.shape[:2]
    scale = size / max(h, w)
    fit = (max(1, round(w * scale)), max(1, round(h * scale)))
    out = np.full((size, size, 3), PAD_VALUE, np.uint8)
    left, top = (size - fit[0]) // 2, (size - fit[1]) // 2
    out[top : top + fit[1], left : left + fit[0]] = cv2.resize(
        image, fit, interpolation=cv2.INTER_LINEAR
    )
    return out, scale, (left, top)


def network_labels(scene: Scene, scale: float, pad: tuple[int, int]) -> Points:
    """Labels as (m, 6) float32: box in network pixels, class, 1 if ignored."""
    boxes = scene.boxes * scale + np.tile(np.array(pad, np.float32), 2)
    return np.concatenate([boxes, scene.kinds[:, None], scene.ignored[:, None]], 1).astype(
        np.float32
    )
