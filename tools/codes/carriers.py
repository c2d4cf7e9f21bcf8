"""Things that carry codes: (rng, size) to a `Thing` whose main code is about `size` pixels wide."""

import cv2
import numpy as np

from tools.codes import backgrounds
from tools.codes.backgrounds import colour
from tools.codes.symbols import BARCODE, DICTIONARIES, MARKER, QR, marker, random_symbol
from tools.codes.things import (
    WORDS,
    Maker,
    Rng,
    Thing,
    inks,
    paint,
    random_kind,
    sheet,
    text_block,
    whole,
    write,
)


def bare(rng: Rng, size: float) -> Thing:
    """Nothing but the code and at most its quiet zone."""
    symbol = random_symbol(rng, random_kind(rng))
    quiet = rng.choice([0.0, 0.5, 1.0, 1.5]) * symbol.quiet
    if symbol.kind == MARKER:
        quiet = rng.uniform(0.3, 2.5)
    edge = size / symbol.modules.shape[1] * quiet
    image = sheet(
        size * (1 if symbol.kind != BARCODE else 0.75) + 2 * edge + 2,
        size + 2 * edge + 2,
        colour(rng, 190, 250, 0.2),
    )
    code = paint(rng, image, symbol, edge + 1, edge + 1, size, quiet)
    bottom = min(
        image.shape[0],
        int(code.outline[2, 1] + 1 + edge + (size * 0.12 if symbol.kind == BARCODE else 0)),
    )
    return whole(np.ascontiguousarray(image[:bottom]), [code])


def sticker(rng: Rng, size: float) -> Thing:
    """A label with text on some sides of the code, with rounded corners at times."""
    symbol = random_symbol(rng, random_kind(rng, (0.4, 0.45, 0.15)))
    dark, light = inks(rng)
    edge = size / symbol.modules.shape[1] * symbol.quiet * rng.uniform(0.5, 1.5)
    tall = rng.uniform(0.2, 0.7)
    body = size * (tall if symbol.kind == BARCODE else 1) + 2 * edge
    top, bottom, side = rng.uniform(0, 0.7, 3) * size * (rng.random(3) < (0.6, 0.6, 0.35))
    image = sheet(top + body + bottom + size * 0.12, size + 2 * edge + side, light)
    line = rng.uniform(0.05, 0.14) * size
    for x, y, w, h in (
        (edge, 0, size, top),
        (edge, top + body, size, bottom),
        (size + edge * 2, edge, side, top + body),
    ):
        if w > line and h > line:
            text_block(rng, image, x, y, w - line, h - line, line, dark)
    code = paint(rng, image, symbol, edge, top + edge, size, tall=tall, dark=dark, light=light)
    thing = whole(image, [code])
    if rng.random() < 0.4:
        radius = int(min(image.shape[:2]) * 0.04) + 1
        thing.alpha[:] = 0
        cv2.rectangle(
            thing.alpha,
            (radius, radius),
            (image.shape[1] - radius, image.shape[0] - radius),
            255,
            2 * radius,
        )
        thing.alpha[radius:-radius, radius:-radius] = 255
    return thing


def parcel(rng: Rng, size: float) -> Thing:
    """A cardboard box with tape and a shipping label: a bar code, often a QR code, an address."""
    w, h = size * rng.uniform(1.2, 1.8), size * rng.uniform(1.2, 2.2)
    light, ink = colour(rng, 225, 252, 0.1), colour(rng, 5, 50, 0.2)
    label, line = sheet(h, w, light), w * rng.uniform(0.035, 0.06)
    codes = [
        paint(
            rng,
            label,
            random_symbol(rng, BARCODE),
            w * 0.1,
            h * 0.62,
            min(size, w * 0.8),
            tall=min(0.3, h * 0.25 / size),
            dark=ink,
            light=light,
        )
    ]
    text_block(rng, label, w * 0.06, h * 0.03, w * 0.5, h * 0.22, line, ink)
    write(label, str(rng.choice(WORDS)).upper(), w * 0.06, h * 0.37, line * 2, ink, True)
    text_block(rng, label, w * 0.06, h * 0.4, w * 0.55, h * 0.16, line, ink)
    cv2.line(label, (0, int(h * 0.58)), (int(w), int(h * 0.58)), ink.tolist(), max(1, int(w / 120)))
    if rng.random() < 0.7:
        codes.append(
            paint(
                rng,
                label,
                random_symbol(rng, QR),
                w * 0.66,
                h * 0.06,
                w * 0.26,
                1,
                dark=ink,
                light=light,
            )
        )
    pad = rng.uniform(0.1, 0.7, 4) * size
    image = backgrounds.cardboard(rng, int(h + pad[0] + pad[1]), int(w + pad[2] + pad[3]))
    if rng.random() < 0.6:
        x = int(rng.uniform(0, 0.9) * image.shape[1])
        tape = image[:, x : x + int(size * 0.25)]
        tape[:] = (tape * 0.6 + colour(rng, 120, 230, 0.5) * 0.4).astype(np.uint8)
    y, x = int(pad[0]), int(pad[2])
    image[y : y + label.shape[0], x : x + label.shape[1]] = label
    for code in codes:
        code.outline += (x, y)
    return whole(image, codes)


def receipt(rng: Rng, size: float) -> Thing:
    """A till slip: columns of text, a total, a code at the foot."""
    w, h = size * rng.uniform(1.15, 1.6), size * rng.uniform(1.6, 3.2)
    light, ink = colour(rng, 205, 250, 0.1), colour(rng, 30, 110, 0.2)
    image, line = sheet(h, w, light), w * rng.uniform(0.04, 0.07)
    symbol = random_symbol(rng, int(rng.choice([QR, BARCODE], p=[0.25, 0.75])))
    wide = size if symbol.kind == BARCODE else size * 0.5
    foot = h - (size * 0.35 if symbol.kind == BARCODE else wide * 1.15)
    write(image, str(rng.choice(WORDS)).upper(), w * 0.2, line * 2, line * 1.4, ink, True)
    text_block(rng, image, w * 0.06, line * 3, w * 0.5, foot - line * 6, line, ink)
    text_block(rng, image, w * 0.78, line * 3, w * 0.18, foot - line * 6, line, ink)
    code = paint(
        rng, image, symbol, (w - wide) / 2, foot, wide, 1, tall=0.25, dark=ink, light=light
    )
    return whole(image, [code])


def product(rng: Rng, size: float) -> Thing:
    """A box or bag of goods: art, a name, a small bar code in its white field."""
    w, h = size * rng.uniform(1.5, 3.2), size * rng.uniform(1.5, 3.2)
    family = [backgrounds.gradient, backgrounds.shapes, backgrounds.gradient][rng.integers(3)]
    image = family(rng, int(h), int(w))
    write(
        image, str(rng.choice(WORDS)), w * 0.08, h * 0.25, h * 0.1, colour(rng, 10, 250, 0.8), True
    )
    text_block(
        rng, image, w * 0.08, h * 0.35, w * 0.4, h * 0.2, w * 0.04, colour(rng, 10, 250, 0.3)
    )
    symbol = random_symbol(rng, int(rng.choice([BARCODE, QR], p=[0.75, 0.25])))
    wide = size if symbol.kind == BARCODE else size * 0.6
    tall = rng.uniform(0.3, 0.7)
    edge = wide / symbol.modules.shape[1] * symbol.quiet
    x = rng.uniform(edge, max(edge + 1, w - wide - edge))
    y = rng.uniform(0.5, 0.8) * (h - wide * (tall if symbol.kind == BARCODE else 1) - edge)
    return whole(
        image, [paint(rng, image, symbol, x, y, wide, rng.uniform(0.3, 1.2) * symbol.quiet, tall)]
    )


def screen(rng: Rng, size: float) -> Thing:
    """A phone or tablet that shows a QR code."""
    w, h = size * rng.uniform(1.2, 1.6), size * rng.uniform(1.8, 2.6)
    image, light = sheet(h, w, colour(rng, 5, 40, 0.2)), colour(rng, 200, 255, 0.2)
    rim = int(w * 0.04) + 1
    image[rim * 2 : -rim * 2, rim:-rim] = light if rng.random() < 0.7 else colour(rng, 20, 240, 0.8)
    text_block(rng, image, w * 0.15, h * 0.08, w * 0.6, h * 0.12, w * 0.06, colour(rng, 10, 90))
    code = paint(
        rng,
        image,
        random_symbol(rng, QR),
        (w - size) / 2,
        h * 0.3,
        size,
        1,
        dark=colour(rng, 5, 60, 0.5),
        light=light,
    )
    return whole(image, [code])


def board(rng: Rng, size: float) -> Thing:
    """A sheet with a grid of markers, at times in the light fields of a chequerboard."""
    rows, columns = rng.integers(1, 4, 2)
    gap, chequer = size * rng.uniform(0.2, 0.8), rng.random() < 0.3
    pitch = size + gap
    light, dark = colour(rng, 200, 252, 0.15), colour(rng, 5, 50, 0.2)
    image, codes = sheet(rows * pitch + gap, columns * pitch + gap, light), []
    name = str(rng.choice(DICTIONARIES))
    for row in range(rows):
        for column in range(columns):
            x, y = gap + column * pitch, gap + row * pitch
            if chequer and (row + column) % 2:
                image[
                    int(y - gap / 2) : int(y + size + gap / 2),
                    int(x - gap / 2) : int(x + size + gap / 2),
                ] = dark
                continue
            symbol = marker(name, int(rng.integers(30)))
            codes.append(paint(rng, image, symbol, x, y, size, 0.3, dark=dark, light=light))
    return whole(image, codes)


def card(rng: Rng, size: float) -> Thing:
    """A page, poster or business card with text, a picture, and one or two codes of any class."""
    w = size * rng.uniform(1.8, 3.5)
    h = w * rng.uniform(0.5, 1.4)
    h = max(h, size * 1.4)
    light, dark = colour(rng, 180, 252, 0.3), colour(rng, 5, 70, 0.4)
    image = sheet(h, w, light)
    text_block(
        rng, image, w * 0.05, h * 0.05, w * 0.9, h * 0.85, w * rng.uniform(0.025, 0.06), dark
    )
    if rng.random() < 0.4:
        view = image[int(h * 0.05) : int(h * 0.35), int(w * 0.05) : int(w * 0.45)]
        view[:] = backgrounds.shapes(rng, *view.shape[:2])
    symbol = random_symbol(rng, random_kind(rng, (0.4, 0.3, 0.3)))
    edge = size / symbol.modules.shape[1] * symbol.quiet
    codes = [
        paint(
            rng,
            image,
            symbol,
            rng.uniform(edge, max(edge + 1, w - size - edge)),
            rng.uniform(edge, max(edge + 1, h - size - edge)),
            size,
            tall=rng.uniform(0.2, 0.7),
            dark=dark,
            light=light,
        )
    ]
    return whole(image, codes)


CARRIERS: tuple[Maker, ...] = (bare, sticker, parcel, receipt, product, screen, board, card)
WEIGHTS = (0.3, 0.22, 0.1, 0.08, 0.08, 0.06, 0.07, 0.09)
"""How often each carrier appears."""
