"""Procedural surfaces, one function for each family.

A family maps (rng, height, width) to an RGB uint8 image of that size.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Image = NDArray[np.uint8]
Field = NDArray[np.float32]


def colour(rng: Rng, low: int = 20, high: int = 235, saturation: float = 0.5) -> Field:
    """A random RGB colour, (3,) float32 in 0..255, whose chroma is at most `saturation`."""
    value = rng.uniform(low, high)
    tint = rng.uniform(-1, 1, 3) * saturation * min(value, 255 - value) * rng.random()
    return np.clip(value + tint, 0, 255).astype(np.float32)


def noise(rng: Rng, h: int, w: int, cell_y: float, cell_x: float | None = None) -> Field:
    """Smooth noise in about -1..1, (h, w) float32, which changes over `cell` pixels."""
    cell_x = cell_y if cell_x is None else cell_x
    grid = (
        rng.standard_normal(
            (max(2, int(h / cell_y) + 2), max(2, int(w / cell_x) + 2)), dtype=np.float32
        )
        * 0.5
    )
    return cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)


def cloud(rng: Rng, h: int, w: int, cell: float, octaves: int = 3) -> Field:
    """Several octaves of `noise`, each of half the size and half the strength."""
    out = noise(rng, h, w, cell)
    for i in range(1, octaves):
        out += noise(rng, h, w, max(1.5, cell / 2**i)) * 0.5**i
    return out


def mix(a: Field, b: Field, t: Field) -> Image:
    """From colour `a` to colour `b` by `t` in 0..1: (h, w, 3) uint8."""
    t = np.clip(t, 0, 1)[..., None]
    return np.clip(a + (b - a) * t, 0, 255).astype(np.uint8)


def shade(image: Image, gain: Field) -> Image:
    """`image` times a gain of (h, w)."""
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)


def wood(rng: Rng, h: int, w: int) -> Image:
    """Planks with grain."""
    size = max(h, w)
    y = np.arange(h, dtype=np.float32)[:, None] / size
    warp = noise(rng, h, w, size / 6, size / 2) * rng.uniform(0.02, 0.1)
    rings = np.sin((y + warp) * rng.uniform(40, 160) + 3 * noise(rng, h, w, size / 20, size / 1.5))
    fine = noise(rng, h, w, 2, size / 12)
    dark = rng.uniform(0.5, 1.2) * np.array(
        [100, rng.uniform(66, 88), rng.uniform(38, 72)], np.float32
    )
    light = dark * rng.uniform(1.3, 2.2)
    image = mix(dark, light, 0.5 + 0.25 * rings + 0.25 * fine)
    for edge in (
        np.arange(rng.uniform(0, 0.3) * h, h, rng.uniform(0.15, 0.6) * h)
        if rng.random() < 0.6
        else []
    ):
        cv2.line(
            image,
            (0, int(edge)),
            (w, int(edge)),
            tuple(float(c) for c in dark * 0.5),
            max(1, size // 300),
        )
    return (
        image if rng.random() < 0.7 else np.ascontiguousarray(cv2.resize(np.rot90(image), (w, h)))
    )


def cardboard(rng: Rng, h: int, w: int) -> Image:
    """Brown corrugated board, faintly striped."""
    base = np.array(
        [rng.uniform(140, 205), rng.uniform(105, 160), rng.uniform(65, 115)], np.float32
    )
    stripes = np.sin(np.arange(w, dtype=np.float32) * rng.uniform(0.3, 1.2))[None] * rng.uniform(
        0, 0.15
    )
    return mix(
        base * 0.85,
        base * 1.1,
        0.5 + 0.15 * cloud(rng, h, w, h / 3) + 0.12 * noise(rng, h, w, 2, 5) + stripes,
    )


def fabric(rng: Rng, h: int, w: int) -> Image:
    """A weave, sometimes of two colours, with soft folds."""
    a, b = colour(rng), colour(rng)
    if rng.random() < 0.5:
        b = a * rng.uniform(0.7, 1.2)
    pitch = rng.uniform(2, 9)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    weave = np.sin(x * 6.28 / pitch) * np.sin(y * 6.28 / pitch)
    return shade(
        mix(a, b, 0.5 + 0.35 * weave + 0.1 * noise(rng, h, w, 2)),
        1 + 0.15 * cloud(rng, h, w, h / 4),
    )


def gradient(rng: Rng, h: int, w: int) -> Image:
    """A plain wall or screen: two colours run into each other."""
    angle = rng.uniform(0, 6.28)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    t = (x * np.cos(angle) / w + y * np.sin(angle) / h) * 0.5 + 0.5
    return mix(colour(rng), colour(rng), t + rng.uniform(0, 0.1) * noise(rng, h, w, 2))


def plaster(rng: Rng, h: int, w: int) -> Image:
    """Concrete or a rough wall."""
    base = colour(rng, 60, 220, 0.15)
    return mix(
        base * 0.7,
        base * 1.15,
        0.5 + 0.3 * cloud(rng, h, w, h / 3, 5) + 0.15 * noise(rng, h, w, 1.5),
    )


def metal(rng: Rng, h: int, w: int) -> Image:
    """Brushed metal with a broad highlight."""
    base = colour(rng, 70, 200, 0.15)
    x = np.linspace(-1, 1, w, dtype=np.float32)[None]
    light = np.exp(-((x - rng.uniform(-0.7, 0.7)) ** 2) / rng.uniform(0.05, 0.6))
    return shade(
        mix(base * 0.8, base * 1.2, 0.5 + 0.3 * noise(rng, h, w, 1.5, w / 2)),
        0.8 + 0.5 * light * np.ones((h, 1)),
    )


def bokeh(rng: Rng, h: int, w: int) -> Image:
    """Lights far out of focus."""
    image = gradient(rng, h, w)
    for _ in range(rng.integers(10, 60)):
        spot = image.copy()
        at = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        cv2.circle(
            spot,
            at,
            int(rng.uniform(0.01, 0.08) * max(h, w)),
            colour(rng, 60, 250, 1).tolist(),
            -1,
            cv2.LINE_AA,
        )
        cv2.addWeighted(spot, rng.uniform(0.2, 0.6), image, 0.5, 0, image)
    return cv2.GaussianBlur(image, (0, 0), max(h, w) / 160)


def papers(rng: Rng, h: int, w: int) -> Image:
    """A stack of printed sheets, overlapping, with lines of text as dashes."""
    image = plaster(rng, h, w)
    for _ in range(rng.integers(3, 9)):
        size = rng.uniform(0.3, 0.8) * max(h, w)
        centre = rng.uniform(0, 1, 2) * (w, h)
        spin = rng.uniform(-40, 40)
        box = cv2.boxPoints((centre.tolist(), (size * 0.7, size), spin)).astype(np.int32)
        cv2.fillConvexPoly(image, box + 4, (60, 60, 60), cv2.LINE_AA)
        cv2.fillConvexPoly(image, box, colour(rng, 190, 250, 0.2).tolist(), cv2.LINE_AA)
        turn = cv2.getRotationMatrix2D((0, 0), -spin, 1)[:, :2]
        pitch = rng.uniform(0.015, 0.05) * size
        ink = colour(rng, 10, 130, 0.3).tolist()
        for row in np.arange(-0.42 * size, 0.42 * size, pitch):
            if rng.random() < 0.15:
                continue
            at = -0.3 * size
            end = rng.uniform(0.0, 0.3) * size
            while at < end:
                step = rng.uniform(0.5, 3) * pitch
                p, q = (turn @ [at, row] + centre, turn @ [min(at + step, end), row] + centre)
                cv2.line(
                    image,
                    tuple(map(int, p)),
                    tuple(map(int, q)),
                    ink,
                    max(1, int(pitch * 0.35)),
                    cv2.LINE_AA,
                )
                at += step + 0.4 * pitch
    return image


def tiles(rng: Rng, h: int, w: int) -> Image:
    """A tiled floor or wall: a grid of joints."""
    a = colour(rng, 80, 240)
    image = mix(a * 0.85, a * 1.1, 0.5 + 0.3 * cloud(rng, h, w, h / 5))
    pitch = rng.uniform(0.05, 0.3) * max(h, w)
    joint = colour(rng).tolist()
    for x in np.arange(rng.uniform(0, pitch), w, pitch):
        cv2.line(image, (int(x), 0), (int(x), h), joint, max(1, int(pitch * 0.04)))
    for y in np.arange(rng.uniform(0, pitch), h, pitch):
        cv2.line(image, (0, int(y)), (w, int(y)), joint, max(1, int(pitch * 0.04)))
    return image


def foliage(rng: Rng, h: int, w: int) -> Image:
    """Leaves and grass as clouds of strokes."""
    base = np.array([rng.uniform(20, 90), rng.uniform(60, 130), rng.uniform(10, 60)], np.float32)
    image = mix(base * 0.3, base * 1.2, 0.5 + 0.4 * cloud(rng, h, w, h / 10, 4))
    for _ in range(rng.integers(60, 200)):
        size = rng.uniform(0.01, 0.06) * max(h, w)
        at = (rng.uniform(0, w), rng.uniform(0, h))
        box = (at, (size, size * rng.uniform(0.15, 0.5)), rng.uniform(0, 360))
        cv2.ellipse(
            image, box, (base * rng.uniform(0.4, 1.8)).clip(0, 255).tolist(), -1, cv2.LINE_AA
        )
    return image


def carpet(rng: Rng, h: int, w: int) -> Image:
    """Speckles: pile, gravel or sand."""
    return mix(
        colour(rng),
        colour(rng),
        0.5 + 0.5 * noise(rng, h, w, rng.uniform(1.2, 4)) + 0.2 * cloud(rng, h, w, h / 4),
    )


def shapes(rng: Rng, h: int, w: int) -> Image:
    """A heap of coloured polygons: an untidy room out of focus, posters, packaging."""
    image = gradient(rng, h, w)
    for _ in range(rng.integers(6, 40)):
        centre = rng.uniform(0, 1, 2) * (w, h)
        corners = centre + rng.standard_normal((rng.integers(3, 7), 2)) * rng.uniform(
            0.03, 0.25
        ) * max(h, w)
        cv2.fillConvexPoly(
            image,
            cv2.convexHull(corners.astype(np.int32)),
            colour(rng, 5, 250, 1).tolist(),
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 6))


def shelf(rng: Rng, h: int, w: int) -> Image:
    """Boards with rows of boxes, bottles and books on them."""
    image = gradient(rng, h, w) // 2
    board = colour(rng, 90, 220, 0.4)
    y = rng.uniform(0.1, 0.3) * h
    while y < h * 1.3:
        x, rise = 0.0, rng.uniform(0.15, 0.35) * h
        while x < w:
            wide, tall = rng.uniform(0.02, 0.2) * w, rise * rng.uniform(0.5, 0.95)
            fill = colour(rng, 25, 240, 1)
            cv2.rectangle(
                image, (int(x), int(y - tall)), (int(x + wide), int(y)), fill.tolist(), -1
            )
            for _ in range(rng.integers(0, 4)):
                at = y - rng.uniform(0.1, 0.9) * tall
                cv2.rectangle(
                    image,
                    (int(x + 0.1 * wide), int(at)),
                    (int(x + 0.9 * wide), int(at + 0.1 * tall)),
                    colour(rng, 5, 250, 1).tolist(),
                    -1,
                )
            cv2.line(
                image,
                (int(x + wide), int(y - tall)),
                (int(x + wide), int(y)),
                (fill * 0.4).tolist(),
                1 + w // 400,
            )
            x += wide * rng.choice([1.0, 1.05, 1.5], p=[0.6, 0.3, 0.1])
        cv2.rectangle(image, (0, int(y)), (w, int(y + 0.04 * h)), board.tolist(), -1)
        cv2.rectangle(
            image, (0, int(y + 0.04 * h)), (w, int(y + 0.06 * h)), (board * 0.35).tolist(), -1
        )
        y += 0.06 * h + rise
    return image


def desk(rng: Rng, h: int, w: int) -> Image:
    """A table top below a wall, the edge between them somewhere in the upper half."""
    top = [wood, plaster, gradient, fabric][rng.integers(4)](rng, h, w)
    edge = int(h * rng.uniform(0.05, 0.45))
    wall = [plaster, gradient, shapes, shelf][rng.integers(4)](rng, h, w)
    top[:edge] = cv2.GaussianBlur(wall, (0, 0), rng.uniform(1, 8))[:edge]
    for _ in range(rng.integers(0, 5)):
        at = (int(rng.uniform(0, w)), int(rng.uniform(edge, h)))
        size = int(rng.uniform(0.02, 0.1) * w)
        cv2.circle(top, at, size, colour(rng, 20, 240, 0.8).tolist(), -1, cv2.LINE_AA)
        cv2.circle(top, at, int(size * 0.8), colour(rng, 20, 200, 0.5).tolist(), -1, cv2.LINE_AA)
    return top


def marble(rng: Rng, h: int, w: int) -> Image:
    """Veins through stone."""
    a, b = colour(rng, 150, 245, 0.2), colour(rng, 20, 150, 0.4)
    vein = 1 - np.abs(np.sin(cloud(rng, h, w, h / 2, 5) * rng.uniform(3, 7)))
    return mix(a, b, vein ** rng.uniform(3, 10) + 0.1 * cloud(rng, h, w, h / 6))


def brick(rng: Rng, h: int, w: int) -> Image:
    """A wall in running bond."""
    image = plaster(rng, h, w)
    tall = rng.uniform(0.03, 0.12) * h
    wide, gap = tall * rng.uniform(2, 3.5), max(1, int(tall * 0.12))
    base = np.array([rng.uniform(110, 190), rng.uniform(50, 120), rng.uniform(35, 100)], np.float32)
    for row in range(int(h / tall) + 1):
        for x in np.arange(-wide * (0.5 * (row % 2) + 0.2), w, wide):
            fill = (base * rng.uniform(0.75, 1.2)).clip(0, 255).tolist()
            cv2.rectangle(
                image,
                (int(x) + gap, int(row * tall) + gap),
                (int(x + wide), int((row + 1) * tall)),
                fill,
                -1,
            )
    return shade(image, 1 + 0.15 * cloud(rng, h, w, h / 12) + 0.1 * noise(rng, h, w, 1.5))


def terrazzo(rng: Rng, h: int, w: int) -> Image:
    """Chips of stone in cement: angular, of every size, often dark on light."""
    base = colour(rng, 120, 240, 0.2)
    image = mix(base * 0.95, base * 1.05, 0.5 + 0.5 * noise(rng, h, w, 2))
    palette = [colour(rng, 20, 240, 0.8) for _ in range(4)]
    for _ in range(rng.integers(150, 500)):
        centre = rng.uniform(0, 1, 2) * (w, h)
        corners = centre + rng.standard_normal((5, 2)) * rng.uniform(0.003, 0.02) * max(h, w)
        cv2.fillConvexPoly(
            image,
            cv2.convexHull(corners.astype(np.int32)),
            palette[rng.integers(4)].tolist(),
            cv2.LINE_AA,
        )
    return image


def blinds(rng: Rng, h: int, w: int) -> Image:
    """A window with its frame and slats: strong parallel stripes, as a bar code has."""
    image = bokeh(rng, h, w)
    pitch = rng.uniform(0.01, 0.06) * max(h, w)
    slat = colour(rng, 100, 250, 0.3)
    for at in np.arange(0, max(h, w), pitch):
        cv2.rectangle(
            image,
            (0, int(at)),
            (w, int(at + pitch * 0.6)),
            (slat * rng.uniform(0.85, 1)).tolist(),
            -1,
        )
    if rng.random() < 0.4:
        image = np.ascontiguousarray(cv2.resize(np.rot90(image), (w, h)))
    for x in (rng.uniform(0, 0.4), rng.uniform(0.6, 1)):
        cv2.rectangle(image, (int(x * w), 0), (int((x + 0.04) * w), h), (slat * 0.6).tolist(), -1)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3))


def knit(rng: Rng, h: int, w: int) -> Image:
    """Rows of stitches, in bands of colour."""
    pitch = rng.uniform(5, 18)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    stitch = np.abs(np.sin(x * 3.14 / pitch)) * np.abs(
        np.sin((y + np.abs(x % pitch - pitch / 2)) * 3.14 / pitch)
    )
    band = (np.sin(y / h * rng.uniform(5, 40)) > rng.uniform(-0.5, 1)).astype(np.float32)
    image = mix(colour(rng, 30, 230, 1), colour(rng, 30, 230, 1), band)
    return shade(image, 0.55 + 0.6 * stitch + 0.1 * cloud(rng, h, w, h / 3))


Family = Callable[[Rng, int, int], Image]
TRAIN: tuple[Family, ...] = (
    wood,
    cardboard,
    fabric,
    gradient,
    plaster,
    metal,
    bokeh,
    papers,
    tiles,
    foliage,
    carpet,
    shapes,
    shelf,
    desk,
)
HELD_OUT: tuple[Family, ...] = (marble, brick, terrazzo, blinds, knit)
"""Families that no training scene shows."""
