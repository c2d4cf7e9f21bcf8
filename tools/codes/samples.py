"""The six pictures in `samples/`: composed by hand, larger and calmer than the training scenes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tools.codes import backgrounds, carriers, clutter
from tools.codes.backgrounds import Image, Rng, cloud
from tools.codes.props import (
    BLACK,
    WHITE,
    box,
    can,
    carton,
    coffee,
    goods,
    label,
    oak,
    paste,
    put,
    slip,
    stone,
)
from tools.codes.symbols import BARCODE, QR, code_39, code_128, digits, marker, qr
from tools.codes.things import paint, sheet, text_block, whole, write

MAX_BYTES = 250_000
OVERSAMPLE = 2
EXIF_TURNED = (
    b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0"
    + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    + b"\0\0\0\0"
)
"""An APP1 segment with orientation 6: to be turned by 90 degrees clockwise."""


def desk(rng: Rng, h: int, w: int) -> Image:
    """A desk with a page, a phone, a keyboard, a book's back and a cup."""
    image = oak(rng, h, w)
    put(image, clutter.keyboard(rng, 1300), 0.33, 0.13, 0.62, 0.03)
    page = sheet(1500, 1150, WHITE)
    write(page, "Invoice 2041", 90, 190, 70, BLACK, True)
    text_block(rng, page, 90, 300, 900, 620, 34, np.array([70, 70, 76], np.float32))
    paint(rng, page, qr("https://example.org/pay/2041"), 90, 1060, 330, 4, dark=BLACK, light=WHITE)
    paint(rng, page, code_39("INV-2041"), 520, 1160, 520, 4, tall=0.3, dark=BLACK, light=WHITE)
    put(image, whole(page), 0.33, 0.62, 0.42, -0.12)
    phone = carriers.screen(np.random.default_rng(12), 600)
    put(image, phone, 0.74, 0.58, 0.17, 0.22)
    put(image, coffee(700), 0.85, 0.2, 0.24, -0.6, 0, 0.7)
    note = sheet(420, 420, np.array([246, 224, 120], np.float32))
    write(note, "lab door", 60, 130, 46, BLACK)
    paint(
        rng,
        note,
        marker("DICT_4X4_50", 7),
        120,
        180,
        180,
        0.5,
        dark=BLACK,
        light=np.array([246, 224, 120], np.float32),
    )
    put(image, whole(note), 0.9, 0.86, 0.15, -0.2)
    return image


def parcel(rng: Rng, h: int, w: int) -> Image:
    """Two cartons on a floor, with shipping labels."""
    image = backgrounds.plaster(np.random.default_rng(4), h, w)
    image[: int(0.34 * h)] = backgrounds.mix(
        np.array([150, 158, 160.0], np.float32),
        np.array([190, 196, 198.0], np.float32),
        np.linspace(0, 1, int(0.34 * h), dtype=np.float32)[:, None] * np.ones((1, w), np.float32),
    )
    front = paste(carton(rng, 1300, 1150, False), label(rng, 620, 800), 0.1, 0.16)
    paint(rng, front, qr("HTTPS://EXAMPLE.ORG/BOX/77"), 900, 330, 240, 4, dark=BLACK, light=WHITE)
    write(front, "THIS SIDE UP", 800, 900, 44, np.array([90, 60, 35]), True)
    box(
        image,
        front,
        carton(rng, 1300, 500),
        carton(rng, 500, 1150, False),
        0.08,
        0.5,
        0.68,
        0.42,
        0.16,
        0.12,
    )
    small = carton(rng, 800, 500, False)
    paint(
        rng,
        small,
        code_128("PKG" + digits(rng, 7)),
        180,
        160,
        440,
        8,
        tall=0.4,
        dark=BLACK,
        light=WHITE,
    )
    box(
        image,
        small,
        carton(rng, 800, 300),
        carton(rng, 300, 500, False),
        0.2,
        0.2,
        0.42,
        0.2,
        0.12,
        0.07,
    )
    return image


def shelf(rng: Rng, h: int, w: int) -> Image:
    """Two boards of packets, with price tags and a marker at each end."""
    image = backgrounds.mix(
        np.array([96, 92, 90], np.float32),
        np.array([70, 66, 66], np.float32),
        0.5 + 0.3 * cloud(rng, h, w, h / 3),
    )
    board = oak(rng, int(0.07 * h), w, (150, 108, 70))
    for base in (0.45, 0.92):
        x = 0.03
        while x < 0.8:
            wide = rng.uniform(0.15, 0.175)
            tall = rng.uniform(0.29, 0.35)
            kind = QR if rng.random() < 0.25 else BARCODE
            pack = goods(rng, 600, int(600 * tall * h / (wide * w)), kind)
            side = np.full((60, 20, 3), pack[20, 20], np.uint8)
            box(image, pack, side, side, x, base - tall, wide, tall, 0.008, 0.012)
            x += wide + rng.uniform(0.018, 0.03)
        top = int(base * h)
        view = image[top : top + board.shape[0]]
        view[:] = board[: len(view)]
        image[top + board.shape[0] : top + int(0.085 * h)] = (
            image[top + board.shape[0] : top + int(0.085 * h)] // 3
        )
        for at in (0.13, 0.36, 0.6, 0.83):
            tag = sheet(200, 440, WHITE)
            write(tag, f"{rng.integers(1, 9)}.{rng.integers(10, 99)}", 20, 110, 60, BLACK, True)
            text_block(rng, tag, 230, 30, 190, 140, 26, BLACK)
            put(image, whole(tag), at, base + 0.035, 0.088, 0, 0, 0.3)
        for at, number in ((0.025, 3), (0.97, 11)):
            tag = sheet(300, 300, WHITE)
            paint(
                rng,
                tag,
                marker("DICT_APRILTAG_36H11", number),
                40,
                40,
                220,
                0.5,
                dark=BLACK,
                light=WHITE,
            )
            put(image, whole(tag), at, base + 0.035, 0.038, 0, 0, 0.3)
    return image


def bench(rng: Rng, h: int, w: int) -> Image:
    """A workbench with a calibration sheet, cubes with tags, and a ruler."""
    image = backgrounds.fabric(np.random.default_rng(21), h, w)
    plate = sheet(1300, 1300, WHITE)
    for row in range(2):
        for column in range(2):
            paint(
                rng,
                plate,
                marker("DICT_5X5_100", 10 + 2 * row + column),
                150 + 580 * column,
                150 + 580 * row,
                420,
                0.5,
                dark=BLACK,
                light=WHITE,
            )
    put(image, whole(plate), 0.36, 0.38, 0.5, 0.15)
    for i, (x, y, spin) in enumerate(((0.8, 0.2, 0.5), (0.84, 0.5, -0.3))):
        tag = sheet(500, 500, np.array([226, 226, 222]))
        paint(
            rng,
            tag,
            marker("DICT_APRILTAG_36H11", 40 + i),
            80,
            80,
            340,
            0.5,
            dark=BLACK,
            light=WHITE,
        )
        put(image, whole(tag), x, y, 0.2, spin, 0.3, 0.8)
    put(image, clutter.ruler(np.random.default_rng(5), 1600), 0.42, 0.78, 0.7, -0.06)
    sticker = sheet(300, 760, np.array([250, 246, 225], np.float32))
    write(sticker, "SERIAL 7741-C", 60, 70, 34, BLACK)
    paint(
        rng,
        sticker,
        code_39("7741-C"),
        60,
        95,
        620,
        3,
        tall=0.25,
        dark=BLACK,
        light=np.array([250, 246, 225], np.float32),
    )
    put(image, whole(sticker), 0.6, 0.91, 0.34, 0.1)
    return image


def counter(rng: Rng, h: int, w: int) -> Image:
    """Two till slips on a stone counter, with a coffee."""
    image = stone(rng, h, w)
    put(image, whole(slip(rng, 900, 1700, "THE CORNER", BARCODE)), 0.34, 0.5, 0.5, -0.1)
    put(image, whole(slip(rng, 700, 1150, "TEA HOUSE", QR)), 0.78, 0.68, 0.34, 0.2)
    put(image, coffee(900), 0.77, 0.2, 0.4, 0.5, 0, 0.7)
    return image


def cans(rng: Rng, h: int, w: int) -> Image:
    """Tins before lights out of focus, and a card."""
    image = backgrounds.bokeh(np.random.default_rng(2), h, w)
    top = int(0.6 * h)
    image[top:] = oak(rng, h - top, w, (110, 74, 50))
    can(rng, image, 0.2, 0.84, 0.25, 0.62, BARCODE)
    can(rng, image, 0.53, 0.8, 0.22, 0.54, QR)
    can(rng, image, 0.82, 0.84, 0.22, 0.5, BARCODE)
    card = sheet(360, 620, WHITE)
    write(card, "Table 12", 40, 90, 44, BLACK, True)
    paint(rng, card, qr("https://example.org/menu"), 340, 70, 220, 3, dark=BLACK, light=WHITE)
    put(image, whole(card), 0.42, 0.91, 0.22, 0.1, 0.5)
    return image


def develop(rng: Rng, image: Image, warm: float, glare: bool) -> Image:
    """Light from one side, a soft shadow, vignetting, a slight blur, fine grain."""
    h, w = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    gain = 1.0 - 0.16 * x - 0.13 * y - 0.15 * (x * x + y * y) / 2
    shadow = np.zeros((h // 8, w // 8), np.uint8)
    corners = np.array([[0.62, -0.1], [1.2, -0.1], [1.2, 1.1], [0.95, 1.1]]) * (w // 8, h // 8)
    cv2.fillPoly(shadow, [corners.astype(np.int32)], 255)
    shadow = cv2.resize(cv2.GaussianBlur(shadow, (0, 0), w / 200), (w, h))
    gain *= 1 - shadow * np.float32(0.22 / 255)
    out = image * gain[..., None] * np.array([1 + warm, 1, 1 - warm], np.float32)
    if glare:
        out += (70 * np.exp(-(((x + 0.45) / 0.5) ** 2) - ((y + 0.55) / 0.22) ** 2))[..., None]
    out = cv2.GaussianBlur(np.clip(out, 0, 255), (0, 0), 0.7)
    out += rng.standard_normal((h, w, 1), dtype=np.float32) * 2.2
    return np.clip(out, 0, 255).astype(np.uint8)


Painter = Callable[[Rng, int, int], Image]
SAMPLES: tuple[tuple[str, Painter, int, int, float, bool], ...] = (
    ("desk.jpg", desk, 960, 1280, 0.04, False),
    ("parcel.jpg", parcel, 1280, 960, 0.03, False),
    ("shelf.jpg", shelf, 1080, 1920, 0.02, False),
    ("bench.jpg", bench, 800, 800, 0.0, False),
    ("receipts-turned.jpg", counter, 1200, 900, 0.05, True),
    ("cans.jpg", cans, 900, 1200, 0.05, False),
)
"""File, painter, height and width upright, warmth, glare."""


def encode(image: Image, turned: bool) -> bytes:
    """Encode RGB as a JPEG under `MAX_BYTES`.

    With `turned`, the picture lies on its side, and EXIF holds the orientation.
    """
    if turned:
        image = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    for quality in range(90, 30, -4):
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[
            1
        ].tobytes()
        if len(data) <= MAX_BYTES:
            break
    return data[:2] + EXIF_TURNED + data[2:] if turned else data


def samples(folder: Path, seed: int = 11) -> None:
    """Write all pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (name, painter, h, w, warm, glare) in enumerate(SAMPLES):
        rng = np.random.default_rng([seed, index])
        big = painter(rng, h * OVERSAMPLE, w * OVERSAMPLE)
        image = develop(rng, cv2.resize(big, (w, h), interpolation=cv2.INTER_AREA), warm, glare)
        (folder / name).write_bytes(encode(image, name.startswith("receipts")))
