"""Things without codes that look like codes.

Each function maps (rng, size) to a `Thing` whose long side is about `size` pixels.
"""

import cv2
import numpy as np

from tools.codes import backgrounds
from tools.codes.backgrounds import colour
from tools.codes.things import (
    Maker,
    Rng,
    Thing,
    inks,
    plain_alphabet,
    sheet,
    text_block,
    whole,
    words,
    write,
)


def page(rng: Rng, size: float) -> Thing:
    """A block of text."""
    dark, light = inks(rng)
    image = sheet(size * rng.uniform(0.3, 1.3), size, light)
    h, w = image.shape[:2]
    text_block(
        rng, image, w * 0.05, h * 0.03, w * 0.9, h * 0.9, rng.uniform(0.02, 0.1) * size, dark
    )
    return whole(image)


def stripes(rng: Rng, size: float) -> Thing:
    """Parallel bars, as on scarves, crossings and vents.

    The bars are even, or a few of different widths and colours.
    """
    dark, light = inks(rng)
    image = sheet(size * rng.uniform(0.3, 1), size, light)
    h, w = image.shape[:2]
    if rng.random() < 0.6:
        pitch = rng.uniform(0.02, 0.12) * w
        for x in np.arange(0, w, pitch):
            cv2.rectangle(image, (int(x), 0), (int(x + pitch * 0.5), h), dark.tolist(), -1)
    else:
        for _ in range(rng.integers(2, 9)):
            x = int(rng.uniform(0, w))
            cv2.rectangle(
                image,
                (x, 0),
                (x + int(rng.uniform(0.02, 0.1) * w), h),
                colour(rng, 10, 250, 1).tolist(),
                -1,
            )
    return whole(image)


def chequer(rng: Rng, size: float) -> Thing:
    """A chequerboard or dice of two colours."""
    dark, light = inks(rng)
    cells = rng.integers(3, 11, 2)
    bits = np.indices(cells).sum(0) % 2
    return cells_of(bits, size, dark, light)


def cells_of(bits: np.ndarray, size: float, dark: np.ndarray, light: np.ndarray) -> Thing:
    """A matrix of 0 and 1 as squares."""
    image = np.where(bits[..., None] > 0, light, dark).astype(np.uint8)
    scale = max(1, int(size / max(bits.shape)))
    return whole(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST))


def confetti(rng: Rng, size: float) -> Thing:
    """Random bits without finder pattern or border: other matrices, pixel art, camouflage."""
    dark, light = inks(rng)
    count = int(rng.integers(8, 26))
    bits = (rng.random((count, count)) < rng.uniform(0.3, 0.7)).astype(np.uint8)
    bits[0], bits[-1], bits[:, 0], bits[:, -1] = 1, 1, 1, 1
    if rng.random() < 0.4:
        bits[:, 1], bits[-2, 1:-1] = 0, 0
        bits[1, 1:-1], bits[1:-1, -2] = np.arange(count - 2) % 2, np.arange(count - 2) % 2
    return cells_of(bits, size, dark, light)


def table(rng: Rng, size: float) -> Thing:
    """A ruled table, calendar or form."""
    dark, light = inks(rng)
    image = sheet(size * rng.uniform(0.4, 1.2), size, light)
    h, w = image.shape[:2]
    rows, columns = rng.integers(3, 13), rng.integers(2, 9)
    for x in np.linspace(1, w - 2, columns + 1):
        cv2.line(image, (int(x), 0), (int(x), h), dark.tolist(), max(1, w // 150))
    for y in np.linspace(1, h - 2, rows + 1):
        cv2.line(image, (0, int(y)), (w, int(y)), dark.tolist(), max(1, w // 150))
        for x in np.linspace(0, w, columns + 1)[:-1]:
            write(
                image,
                plain_alphabet(rng, 2),
                x + w * 0.02,
                y + h / rows * 0.7,
                h / rows * 0.4,
                dark,
            )
    return whole(image)


def icon(rng: Rng, size: float) -> Thing:
    """A framed sign: a dark square with one simple shape, a finder-like target, an app's icon."""
    dark, light = inks(rng)
    image = sheet(size, size, dark)
    s = image.shape[0]
    middle, ink = (s // 2, s // 2), light.tolist()
    pick = rng.integers(6)
    if pick == 0:
        cv2.circle(image, middle, int(s * rng.uniform(0.2, 0.4)), ink, -1, cv2.LINE_AA)
    elif pick == 1:
        cv2.rectangle(image, (s // 7, s // 7), (s - s // 7, s - s // 7), ink, -1)
        cv2.rectangle(
            image, (2 * s // 7, 2 * s // 7), (s - 2 * s // 7, s - 2 * s // 7), dark.tolist(), -1
        )
    elif pick == 2:
        hull = (np.array([[0.5, 0.15], [0.85, 0.8], [0.15, 0.8]]) * s).astype(np.int32)
        cv2.fillConvexPoly(image, hull, ink, cv2.LINE_AA)
    elif pick == 3:
        write(image, plain_alphabet(rng, 1), s * 0.25, s * 0.75, s * 0.55, light, True)
    elif pick == 4:
        cv2.line(image, (s // 5, s // 2), (4 * s // 5, s // 2), ink, s // 6)
        cv2.line(image, (s // 2, s // 5), (s // 2, 4 * s // 5), ink, s // 6)
    else:
        cv2.rectangle(image, (s // 8, s // 8), (s - s // 8, s - s // 8), ink, max(1, s // 12))
    return whole(image)


def logo(rng: Rng, size: float) -> Thing:
    """Overlapping simple shapes and a word, such as a brand's logo."""
    image = sheet(size * rng.uniform(0.5, 1), size, colour(rng, 30, 250, 0.8))
    h, w = image.shape[:2]
    for _ in range(rng.integers(2, 5)):
        at = (int(rng.uniform(0.1, 0.9) * w), int(rng.uniform(0.2, 0.8) * h))
        fill, reach = colour(rng, 5, 250, 1).tolist(), int(rng.uniform(0.08, 0.3) * h)
        if rng.random() < 0.5:
            cv2.circle(
                image,
                at,
                reach,
                fill,
                -1 if rng.random() < 0.6 else max(1, reach // 4),
                cv2.LINE_AA,
            )
        else:
            cv2.rectangle(image, at, (at[0] + 2 * reach, at[1] + reach), fill, -1)
    write(image, words(rng, 1), w * 0.1, h * 0.85, h * 0.2, colour(rng, 5, 250), True)
    return whole(image)


def book(rng: Rng, size: float) -> Thing:
    """A cover with a picture and a title."""
    image = backgrounds.shapes(rng, int(size * rng.uniform(0.9, 1.4)), int(size * 0.9))
    h, w = image.shape[:2]
    write(image, words(rng, 2), w * 0.08, h * 0.2, h * 0.07, colour(rng, 10, 250), True)
    return whole(image)


def window(rng: Rng, size: float) -> Thing:
    """Panes in a frame, a grille, a rack front."""
    dark, light = inks(rng)
    image = backgrounds.gradient(rng, int(size * rng.uniform(0.5, 1.3)), int(size))
    h, w = image.shape[:2]
    thick = max(1, int(size * rng.uniform(0.01, 0.05)))
    for x in np.linspace(0, w, rng.integers(2, 6)):
        cv2.line(image, (int(x), 0), (int(x), h), light.tolist(), thick)
    for y in np.linspace(0, h, rng.integers(2, 12)):
        cv2.line(
            image, (0, int(y)), (w, int(y)), (light if rng.random() < 0.8 else dark).tolist(), thick
        )
    return whole(image)


def cup(rng: Rng, size: float) -> Thing:
    """A round thing seen from above: cup, coin, lid."""
    image = sheet(size, size, colour(rng, 20, 240, 0.8))
    s = image.shape[0]
    alpha = np.zeros((s, s), np.uint8)
    cv2.circle(alpha, (s // 2, s // 2), s // 2 - 1, 255, -1, cv2.LINE_AA)
    for reach in rng.uniform(0.1, 0.48, rng.integers(1, 4)):
        cv2.circle(
            image,
            (s // 2, s // 2),
            int(reach * s),
            colour(rng, 10, 250, 0.8).tolist(),
            rng.choice([-1, 2, 4]),
            cv2.LINE_AA,
        )
    return Thing(image, alpha)


def keyboard(rng: Rng, size: float) -> Thing:
    """Rows of lettered keys."""
    body, key = colour(rng, 10, 230, 0.1), colour(rng, 10, 250, 0.2)
    rows, columns = 5, int(rng.integers(10, 16))
    image = sheet(size * rows / columns, size, body)
    pitch = size / columns
    ink = colour(rng, 200, 255, 0.1) if key.mean() < 128 else colour(rng, 5, 60, 0.1)
    for row in range(rows):
        x = 0.1 * pitch
        while x < size - 0.5 * pitch:
            wide = pitch * rng.choice([1, 1, 1, 1, 1.5, 2])
            p, q = (
                (int(x), int((row + 0.08) * pitch)),
                (int(x + wide - 0.15 * pitch), int((row + 0.92) * pitch)),
            )
            cv2.rectangle(image, p, q, key.tolist(), -1)
            write(
                image,
                plain_alphabet(rng, 1),
                x + 0.2 * pitch,
                (row + 0.6) * pitch,
                0.3 * pitch,
                ink,
            )
            x += wide
    return whole(image)


def crossword(rng: Rng, size: float) -> Thing:
    """A puzzle's grid, some cells black, some lettered: the hardest look-alike of a QR code."""
    dark, light = inks(rng)
    count = int(rng.integers(7, 16))
    thing = cells_of((rng.random((count, count)) < 0.75).astype(np.uint8), size, dark, light)
    s = thing.image.shape[0]
    for at in np.linspace(0, s - 1, count + 1):
        cv2.line(thing.image, (int(at), 0), (int(at), s), dark.tolist(), 1)
        cv2.line(thing.image, (0, int(at)), (s, int(at)), dark.tolist(), 1)
    return thing


def piano(rng: Rng, size: float) -> Thing:
    """Black and white keys: bars of two widths, the hardest look-alike of a bar code."""
    image = sheet(size * rng.uniform(0.2, 0.5), size, colour(rng, 220, 250, 0.1))
    h, w = image.shape[:2]
    count = int(rng.integers(10, 30))
    for i in range(count):
        x = w * i / count
        cv2.line(image, (int(x), 0), (int(x), h), (60, 60, 60), 1)
        if i % 7 in (0, 1, 3, 4, 5):
            cv2.rectangle(
                image,
                (int(x + 0.7 * w / count), 0),
                (int(x + 1.3 * w / count), int(h * 0.6)),
                (15, 15, 15),
                -1,
            )
    return whole(image)


def ruler(rng: Rng, size: float) -> Thing:
    """A scale with ticks and numbers."""
    dark, light = inks(rng)
    image = sheet(size * 0.12, size, light)
    h, w = image.shape[:2]
    for i, x in enumerate(np.linspace(0.02 * w, 0.98 * w, int(rng.integers(50, 150)))):
        tall = 0.55 if i % 10 == 0 else 0.4 if i % 5 == 0 else 0.28
        cv2.line(image, (int(x), 0), (int(x), int(h * tall)), dark.tolist(), 1)
        if i % 10 == 0:
            write(image, str(i // 10), x, h * 0.92, h * 0.28, dark)
    return whole(image)


TRAIN: tuple[Maker, ...] = (page, stripes, chequer, confetti, table, icon, logo, book, window, cup)
HELD_OUT: tuple[Maker, ...] = (keyboard, crossword, piano, ruler)
"""Clutter that no training scene shows."""
