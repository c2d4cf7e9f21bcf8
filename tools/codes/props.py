"""Props of the sample pictures: boxes, labels, packets, tins, till slips and table tops."""

import cv2
import numpy as np

from tools.codes import backgrounds
from tools.codes.backgrounds import Image, Rng, cloud, colour, noise
from tools.codes.scenes import bend, lay, tilt
from tools.codes.symbols import QR, code_128, digits, ean_13, qr
from tools.codes.things import Thing, paint, sheet, text_block, whole, write

BLACK, WHITE = np.array([22, 22, 26], np.float32), np.array([242, 241, 236], np.float32)


def put(
    image: Image,
    thing: Thing,
    x: float,
    y: float,
    width: float,
    spin: float = 0,
    lean: float = 0.12,
    shadow: float = 0.5,
) -> None:
    """Lay a thing with its middle at x, y and the given `width`.

    All three are shares of the picture's width or height.
    """
    h, w = image.shape[:2]
    th, tw = thing.alpha.shape
    matrix = tilt(
        np.random.default_rng(0),
        th,
        tw,
        np.array([x * w, y * h], np.float32),
        width * w / tw,
        spin,
        lean,
        0.0,
    )
    lay(image, [], thing, matrix, shadow, 1.0)


def face(
    image: Image,
    flat: Image,
    corners: list[tuple[float, float]],
    gain: float = 1.0,
    shadow: float = 0.0,
) -> None:
    """Draw one face of a box on its four corners.

    Corners are shares of width and height, clockwise from the top left.
    """
    h, w = image.shape[:2]
    target = (np.array(corners) * (w, h)).astype(np.float32)
    fh, fw = flat.shape[:2]
    source = np.array([[0, 0], [fw, 0], [fw, fh], [0, fh]], np.float32)
    thing = whole(np.clip(flat * np.float32(gain), 0, 255).astype(np.uint8))
    lay(image, [], thing, cv2.getPerspectiveTransform(source, target), shadow, 1.0)


def label(rng: Rng, w: int, h: int) -> Image:
    """A shipping label with an address, a Code 128, and a QR code."""
    image = sheet(h, w, WHITE)
    line = w * 0.042
    write(image, "PRIORITY", w * 0.06, h * 0.1, line * 1.9, BLACK, True)
    write(image, "Ship to", w * 0.06, h * 0.17, line * 0.8, BLACK)
    for i, text in enumerate(("Lena Example", "12 Garden Street", "04109 Northville")):
        write(image, text, w * 0.06, h * (0.24 + 0.06 * i), line, BLACK)
    cv2.rectangle(image, (0, int(h * 0.43)), (w, int(h * 0.436)), BLACK.tolist(), -1)
    text_block(rng, image, w * 0.06, h * 0.45, w * 0.6, h * 0.13, line * 0.9, BLACK)
    paint(
        rng,
        image,
        qr("https://example.org/track/" + digits(rng, 10)),
        w * 0.66,
        h * 0.06,
        w * 0.28,
        0,
        dark=BLACK,
        light=WHITE,
    )
    paint(
        rng,
        image,
        code_128(digits(rng, 16)),
        w * 0.1,
        h * 0.63,
        w * 0.8,
        4,
        tall=0.28,
        dark=BLACK,
        light=WHITE,
    )
    return image


def carton(rng: Rng, w: int, h: int, tape: bool = True) -> Image:
    """One face of a cardboard box, with tape along its middle."""
    base = np.array([188, 148, 102], np.float32) * rng.uniform(0.9, 1.08)
    image = backgrounds.mix(
        base * 0.9, base * 1.06, 0.5 + 0.12 * cloud(rng, h, w, h / 3) + 0.1 * noise(rng, h, w, 3, 9)
    )
    if tape:
        band = image[:, int(w * 0.44) : int(w * 0.56)]
        band[:] = (band * 0.55 + np.array([214, 190, 150]) * 0.45).astype(np.uint8)
    return image


def box(
    image: Image,
    front: Image,
    top: Image,
    side: Image,
    x: float,
    y: float,
    w: float,
    h: float,
    deep: float,
    lift: float,
) -> None:
    """A box seen from the front and above.

    The front face is at x, y and has the size w by h. The top and the right side run back by
    `deep`, `lift`.
    """
    face(
        image,
        side,
        [(x + w, y), (x + w + deep, y - lift), (x + w + deep, y + h - lift), (x + w, y + h)],
        0.62,
        0.5,
    )
    face(image, top, [(x + deep, y - lift), (x + w + deep, y - lift), (x + w, y), (x, y)], 1.1)
    face(image, front, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)], 0.93, 0.35)


def paste(flat: Image, part: Image, x: float, y: float) -> Image:
    """Glue a picture onto another at a share of its size; returns the other picture."""
    top, left = int(y * flat.shape[0]), int(x * flat.shape[1])
    view = flat[top : top + part.shape[0], left : left + part.shape[1]]
    view[:] = part[: view.shape[0], : view.shape[1]]
    return flat


def goods(rng: Rng, w: int, h: int, kind: int) -> Image:
    """The front of a packet: two colours, a name, a motif, and a code in a white field."""
    fill = colour(rng, 60, 190, 1)
    fade = np.repeat(np.linspace(0, 1, h, dtype=np.float32)[:, None], w, 1)
    image = backgrounds.mix(fill, fill * 0.7, fade)
    motif = ((w * 0.5, h * 0.42), (w * 0.7, h * 0.3), 0)
    cv2.ellipse(image, motif, colour(rng, 120, 250, 1).tolist(), -1, cv2.LINE_AA)
    spot = (int(w * rng.uniform(0.3, 0.7)), int(h * 0.42))
    cv2.circle(image, spot, int(w * 0.16), colour(rng, 30, 220, 1).tolist(), -1, cv2.LINE_AA)
    name = str(rng.choice(["Coffee", "Tea", "Oats", "Rice", "Cocoa", "Soap", "Salt"]))
    write(image, name, w * 0.1, h * 0.2, w * 0.14, WHITE, True)
    if kind == QR:
        symbol, size, quiet = qr("https://example.org/p/" + digits(rng, 6)), w * 0.42, 3
    else:
        symbol, size, quiet = ean_13(digits(rng, 12)), w * 0.6, 6
    y = h * 0.66 if kind != QR else min(h * 0.62, h - w * 0.5)
    paint(rng, image, symbol, (w - size) / 2, y, size, quiet, tall=0.42, dark=BLACK, light=WHITE)
    return image


def can(rng: Rng, image: Image, x: float, foot: float, wide: float, tall: float, kind: int) -> None:
    """A tin with a wrapped label, its foot at x, `foot`.

    All lengths are shares of the picture's width or height.
    """
    h, w = image.shape[:2]
    thing, rise = whole(goods(rng, 900, int(900 * tall * h / (wide * w)), kind)), 0.07
    bend(thing, rise, 1.1)
    across = np.cos(np.linspace(-1.3, 1.3, thing.image.shape[1], dtype=np.float32))[None, :, None]
    thing.image = np.clip(thing.image * (0.25 + 0.85 * across), 0, 255).astype(np.uint8)
    put(image, thing, x, foot - tall / 2, wide, 0, 0, 0.6)
    at = (x * w, (foot - tall) * h)
    for size, shade in ((1.0, 150), (0.93, 205), (0.86, 178)):
        axes = (wide * w * size, 2 * rise * wide * w * size)
        cv2.ellipse(image, (at, axes, 0), (shade, shade, shade + 4), -1, cv2.LINE_AA)


def coffee(size: int) -> Thing:
    """A cup on its saucer, from above."""
    image, alpha = (
        sheet(size, int(size * 1.15), WHITE),
        np.zeros((size, int(size * 1.15)), np.uint8),
    )
    middle = (size // 2, size // 2)
    cv2.circle(alpha, middle, size // 2 - 2, 255, -1, cv2.LINE_AA)
    for reach, fill in ((0.5, (214, 216, 218)), (0.46, (236, 236, 234)), (0.36, (205, 206, 206))):
        cv2.circle(image, middle, int(size * reach), fill, -1, cv2.LINE_AA)
    cv2.line(
        image,
        (int(size * 0.75), size // 2),
        (int(size * 0.93), size // 2),
        (248, 247, 243),
        size // 12,
        cv2.LINE_AA,
    )
    for reach, fill in ((0.31, (250, 249, 245)), (0.27, (92, 56, 34)), (0.255, (70, 41, 24))):
        cv2.circle(image, middle, int(size * reach), fill, -1, cv2.LINE_AA)
    cv2.ellipse(
        image,
        ((size * 0.44, size * 0.42), (size * 0.2, size * 0.09), -35),
        (128, 88, 58),
        -1,
        cv2.LINE_AA,
    )
    return Thing(cv2.GaussianBlur(image, (0, 0), size / 250), alpha)


def slip(rng: Rng, w: int, h: int, shop: str, kind: int) -> Image:
    """A till slip: a shop, items with prices, a total, and a code at the foot."""
    paper, ink, line = (
        np.array([243, 241, 235], np.float32),
        np.array([52, 52, 58], np.float32),
        w * 0.045,
    )
    image = sheet(h, w, paper)
    write(image, shop, w * 0.2, h * 0.07, line * 1.6, ink, True)
    write(image, "12 Garden Street", w * 0.24, h * 0.105, line * 0.8, ink)
    total, y = 0, h * 0.17
    items = [
        "Coffee beans",
        "Oat biscuits",
        "Black tea",
        "Sea salt",
        "Rice 1 kg",
        "Soap",
        "Cocoa",
        "Pencils",
    ]
    for item in rng.permutation(items)[: int((h * 0.45) / (line * 2))]:
        price = int(rng.integers(90, 999))
        total += price
        write(image, str(item), w * 0.08, y, line, ink)
        write(image, f"{price / 100:.2f}", w * 0.78, y, line, ink)
        y += line * 2
    cv2.line(
        image,
        (int(w * 0.08), int(y - line)),
        (int(w * 0.92), int(y - line)),
        ink.tolist(),
        max(1, w // 300),
    )
    write(image, "Total", w * 0.08, y + line, line * 1.3, ink, True)
    write(image, f"{total / 100:.2f}", w * 0.72, y + line, line * 1.3, ink, True)
    if kind == QR:
        code = qr("https://example.org/r/" + digits(rng, 8))
        paint(rng, image, code, w * 0.31, h * 0.72, w * 0.38, 2, dark=ink, light=paper)
    else:
        paint(
            rng,
            image,
            code_128(digits(rng, 12)),
            w * 0.12,
            h * 0.78,
            w * 0.76,
            2,
            tall=0.28,
            dark=ink,
            light=paper,
        )
    return image


def stone(rng: Rng, h: int, w: int) -> Image:
    """A pale counter with faint veins."""
    field = cloud(rng, h, w, h / 1.5, 6)
    vein = (1 - np.abs(np.sin(field * 3.2))) ** 9 * np.clip(0.5 + cloud(rng, h, w, h / 3), 0, 1)
    light, dark = np.array([226, 223, 217], np.float32), np.array([128, 128, 132], np.float32)
    return backgrounds.mix(
        light, dark, 0.75 * vein + 0.06 * cloud(rng, h, w, h / 8) + 0.03 * noise(rng, h, w, 3)
    )


def oak(rng: Rng, h: int, w: int, tint: tuple[float, float, float] = (176, 128, 84)) -> Image:
    """A quiet table top."""
    y = np.arange(h, dtype=np.float32)[:, None] / h
    rings = np.sin(
        (y + 0.03 * noise(rng, h, w, h / 5, w / 1.5)) * 95 + 2 * noise(rng, h, w, h / 14, w)
    )
    base = np.array(tint, np.float32)
    image = backgrounds.mix(
        base * 0.8, base * 1.1, 0.5 + 0.14 * rings + 0.16 * noise(rng, h, w, 4, w / 9)
    )
    for edge in (0.22, 0.51, 0.83):
        cv2.line(
            image, (0, int(edge * h)), (w, int(edge * h)), (base * 0.5).tolist(), max(1, h // 500)
        )
    return image
