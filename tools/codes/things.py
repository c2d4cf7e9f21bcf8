"""Flat things of a scene, with text and codes on them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.codes.backgrounds import colour
from tools.codes.symbols import (
    ALPHABET,
    BARCODE,
    QR,
    Symbol,
    digits,
)

Rng = np.random.Generator
Image = NDArray[np.uint8]
Points = NDArray[np.float32]

WORDS = (
    "Ship to",
    "Fragile",
    "Total",
    "Order",
    "Net weight",
    "Made with care",
    "Batch",
    "Return",
    "Lot",
    "Price",
    "Organic",
    "Coffee",
    "North",
    "Street",
    "Invoice",
    "Thank you",
    "This side up",
    "Size",
    "Date",
    "Qty",
    "Tea",
    "Garden",
    "Model",
    "Serial",
    "Warehouse",
    "Express",
    "Priority",
    "Item",
    "Receipt",
    "Notes",
)


@dataclass
class Code:
    """A code on a thing, in the thing's pixels."""

    symbol: Symbol
    outline: Points
    """Corners (4, 2), without quiet zone and human-readable digits."""
    module: float
    """Pixels per module."""
    contrast: float
    """The difference of light and dark, in 0..1."""


@dataclass
class Thing:
    """A flat picture (h, w, 3), its opacity (h, w) uint8 and the codes on it."""

    image: Image
    alpha: Image
    codes: list[Code] = field(default_factory=list)


def sheet(h: float, w: float, fill: Points) -> Image:
    """A canvas of one colour."""
    return np.full((max(4, int(h)), max(4, int(w)), 3), fill, np.uint8)


def whole(image: Image, codes: list[Code] | None = None) -> Thing:
    """A thing that fills its rectangle."""
    return Thing(image, np.full(image.shape[:2], 255, np.uint8), codes or [])


def words(rng: Rng, count: int) -> str:
    """Random words and numbers."""
    return " ".join(
        str(rng.choice(WORDS)) if rng.random() < 0.6 else digits(rng, rng.integers(1, 7))
        for _ in range(count)
    )


def write(
    image: Image,
    text: str,
    x: float,
    y: float,
    height: float,
    ink: Points | tuple[int, ...],
    bold: bool = False,
) -> None:
    """Text whose capitals are `height` pixels tall, with its baseline from x, y."""
    if height >= 3:
        scale = height / 21
        cv2.putText(
            image,
            text,
            (int(x), int(y)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            [float(c) for c in ink],
            max(1, int(height / (6 if bold else 11))),
            cv2.LINE_AA,
        )


def text_block(
    rng: Rng, image: Image, x: float, y: float, w: float, h: float, line: float, ink: Points
) -> None:
    """Lines of text within a rectangle. Below 5 pixels, dashes take the place of text."""
    at = y + line
    while at < y + h:
        end = x + w * rng.uniform(0.4, 1)
        if line >= 7:
            view = image[:, : max(1, int(end))]
            write(view, words(rng, int(rng.integers(2, 7))), x, at, line * 0.6, ink)
        else:
            start = x
            while start < end:
                step = rng.uniform(1, 4) * line
                cv2.line(
                    image,
                    (int(start), int(at)),
                    (int(min(end, start + step)), int(at)),
                    ink.tolist(),
                    max(1, int(line * 0.4)),
                )
                start += step + line * 0.6
        at += line * 1.25


def inks(rng: Rng) -> tuple[Points, Points]:
    """Dark and light of a code: mostly black on white, at times coloured, faint or inverted."""
    dark, light = colour(rng, 5, 40, 0.2), colour(rng, 215, 252, 0.15)
    pick = rng.random()
    if pick < 0.15:
        dark = colour(rng, 15, 110, 1)
    elif pick < 0.3:
        light = colour(rng, 150, 230, 1)
    elif pick < 0.4:
        dark, light = colour(rng, 60, 110, 0.3), colour(rng, 150, 210, 0.3)
    return (light, dark) if rng.random() < 0.06 else (dark, light)


def draw_modules(rng: Rng, symbol: Symbol, w: int, h: int) -> Image:
    """A symbol as grey (h, w): filtered down, or scaled up with square, rarely round, modules."""
    rows, columns = symbol.modules.shape
    times = int(np.ceil(w / columns))
    if times <= 1:
        return cv2.resize(
            np.repeat(symbol.modules, max(1, h // rows if rows == 1 else 1), 0),
            (w, h),
            interpolation=cv2.INTER_AREA,
        )
    big = cv2.resize(
        symbol.modules,
        (columns * times, h if rows == 1 else rows * times),
        interpolation=cv2.INTER_NEAREST,
    )
    if symbol.kind == QR and times >= 4 and rng.random() < 0.12:
        dot = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (times, times)) * 255
        dots = 255 - np.minimum(np.tile(dot, (rows, columns)), 255 - big)
        dots[: 7 * times, : 7 * times] = big[: 7 * times, : 7 * times]
        dots[: 7 * times, -7 * times :] = big[: 7 * times, -7 * times :]
        dots[-7 * times :, : 7 * times] = big[-7 * times :, : 7 * times]
        big = dots
    return cv2.resize(big, (w, h), interpolation=cv2.INTER_AREA)


def paint(
    rng: Rng,
    image: Image,
    symbol: Symbol,
    x: float,
    y: float,
    size: float,
    quiet: float | None = None,
    tall: float | None = None,
    dark: Points | None = None,
    light: Points | None = None,
) -> Code:
    """Draw a symbol `size` pixels wide with its corner at x, y.

    `tall` is a bar code's height over its width.
    """
    if dark is None or light is None:
        dark, light = inks(rng)
    w = max(6, int(size))
    h = w if symbol.kind != BARCODE else max(4, int(w * (tall or rng.uniform(0.15, 0.75))))
    x, y, module = int(x), int(y), w / symbol.modules.shape[1]
    edge = int(module * (symbol.quiet if quiet is None else quiet))
    below = edge if symbol.kind != BARCODE else edge // 3
    image[max(0, y - below) : y + h + below, max(0, x - edge) : x + w + edge] = light
    grey = draw_modules(rng, symbol, w, h)[..., None] / np.float32(255)
    patch = image[y : y + h, x : x + w]
    patch[:] = (dark + (light - dark) * grey)[: patch.shape[0], : patch.shape[1]]
    if symbol.kind == QR and rng.random() < 0.08:
        a, b = int(w * 0.4), int(w * 0.6)
        patch[a:b, a:b] = light
        cv2.circle(
            patch,
            (w // 2, h // 2),
            int(w * 0.08),
            colour(rng, 30, 220, 1).tolist(),
            -1,
            cv2.LINE_AA,
        )
    if symbol.kind == BARCODE and rng.random() < 0.55:
        text, line = symbol.text, max(3.0, w * 0.07)
        strip = image[y + h : int(y + h + line * 1.5), x : x + w]
        strip[:] = light
        write(
            image,
            " ".join(text) if len(text) < 12 else text,
            x + w * 0.1,
            y + h + line * 1.2,
            line * 0.9,
            dark,
        )
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)
    return Code(symbol, corners, module, float(np.abs(light - dark).mean() / 255))


def random_kind(rng: Rng, weights: tuple[float, float, float] = (0.33, 0.35, 0.32)) -> int:
    """A class index."""
    return int(rng.choice(3, p=weights))


def plain_alphabet(rng: Rng, count: int) -> str:
    """Random characters, for keys and cells."""
    return "".join(rng.choice(list(ALPHABET[:36]), count))


Maker = Callable[[Rng, float], Thing]
"""A function from a size in pixels to a thing.

The size is that of the code, or of the thing without a code.
"""
