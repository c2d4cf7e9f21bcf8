"""Pixels are right for every format, colour mode and orientation."""

from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from sluice.errors import ImageTooLarge, NotAnImage
from worker.decode import decode

LIMIT = 1_000_000


@pytest.fixture
def scene() -> Image.Image:
    """A smooth gradient, which lossy formats change little. All eight orientations differ."""
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _near(pixels: np.ndarray, expected: Image.Image, tolerance: float = 0) -> None:
    wanted = np.asarray(expected.convert("RGB"), np.float64)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.shape == wanted.shape
    assert np.abs(pixels - wanted).mean() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_are_exact(scene: Image.Image, kind: str) -> None:
    _near(decode(_file(scene, kind), LIMIT), scene)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_close(scene: Image.Image, kind: str) -> None:
    _near(decode(_file(scene, kind, quality=95), LIMIT), scene, 3)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("JPEG", 3), ("PNG", 0), ("WEBP", 3), ("BMP", 0), ("TIFF", 0)]
)
def test_grey_becomes_three_channels(scene: Image.Image, kind: str, tolerance: float) -> None:
    grey = scene.convert("L")
    _near(decode(_file(grey, kind), LIMIT), grey, tolerance)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled(scene: Image.Image, kind: str) -> None:
    deep = np.asarray(scene).astype(np.uint16) * 257  # 255 becomes 65535
    encoded = cv2.imencode(f".{kind.lower()}", deep[:, :, ::-1])[1].tobytes()
    _near(decode(encoded, LIMIT), scene)
    grey = scene.convert("L")
    encoded = cv2.imencode(f".{kind.lower()}", np.asarray(grey).astype(np.uint16) * 257)[
        1
    ].tobytes()
    _near(decode(encoded, LIMIT), grey)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(scene: Image.Image, kind: str) -> None:
    _near(decode(_file(scene.convert("CMYK"), kind), LIMIT), scene, 3)


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 1), ("WEBP", 1), ("TIFF", 1)])
def test_transparency_is_shown_on_white(scene: Image.Image, kind: str, tolerance: float) -> None:
    see_through = scene.convert("RGBA")
    see_through.putalpha(
        Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))
    )
    expected = Image.alpha_composite(Image.new("RGBA", scene.size, "white"), see_through)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    _near(decode(_file(see_through, kind, **options), LIMIT), expected, tolerance)


def test_a_transparent_palette_is_shown_on_white(scene: Image.Image) -> None:
    indexed = scene.quantize(16)
    pixels = decode(_file(indexed, "PNG", transparency=0), LIMIT)
    holes = np.asarray(indexed) == 0
    assert holes.any()
    assert (pixels[holes] == 255).all()
    assert np.array_equal(pixels[~holes], np.asarray(indexed.convert("RGB"))[~holes])


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [("JPEG", "RGB", 4), ("PNG", "RGB", 0), ("PNG", "RGBA", 1), ("TIFF", "RGB", 0)],
)
def test_every_orientation_is_turned_upright(
    scene: Image.Image, turn: int, kind: str, mode: str, tolerance: float
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = scene.convert(mode)
    if mode == "RGBA":
        stored.putalpha(128)
    data = _file(stored, kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert(mode)
    white = Image.new("RGBA", upright.size, "white")
    expected = Image.alpha_composite(white, upright) if mode == "RGBA" else upright
    _near(decode(data, LIMIT), expected, tolerance)


def test_a_damaged_file_is_not_an_image(scene: Image.Image) -> None:
    noise = Image.effect_noise((200, 150), 100)
    data = bytearray(_file(noise, "PNG"))
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    with pytest.raises(NotAnImage, match="the checksum of its chunk IDAT is wrong"):
        decode(bytes(data), LIMIT)


def test_the_size_is_checked_before_pixels_are_decoded(scene: Image.Image) -> None:
    with pytest.raises(ImageTooLarge):
        decode(_file(scene, "PNG"), 100)


def test_an_image_of_one_pixel() -> None:
    assert decode(_file(Image.new("L", (1, 1), 7), "PNG"), LIMIT).tolist() == [[[7, 7, 7]]]
