"""PNG: transparency, depths, and what stands beside the picture."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sluice.errors import NotAnImage, TruncatedImage
from sluice.images import inspect
from tests.support.image_files import exif, png, png_chunk, png_with, save
from worker.decode import decode

LIMIT = 1_000_000
WHITE = [255, 255, 255]


@pytest.fixture
def scene() -> Image.Image:
    noise = Image.effect_noise((40, 30), 80)
    return Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))


def test_only_the_exact_grey_of_16_bits_is_transparent() -> None:
    greys = [0x1234, 0x1235, 0x12FF, 0x8000]
    rows = b"\0" + struct.pack(">4H", *greys)
    data = png((4, 1), 16, 0, rows, png_chunk(b"tRNS", struct.pack(">H", 0x1234)))
    assert decode(data, LIMIT)[0].tolist() == [WHITE, [0x12] * 3, [0x12] * 3, [0x80] * 3]


def test_only_the_exact_colour_of_16_bits_is_transparent() -> None:
    colours = [(0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD), (0x9ABC, 0x5678, 0x1234)]
    rows = b"\0" + b"".join(struct.pack(">3H", *colour) for colour in colours)
    data = png((3, 1), 16, 2, rows, png_chunk(b"tRNS", struct.pack(">3H", *colours[0])))
    assert decode(data, LIMIT)[0].tolist() == [
        WHITE,
        [0x12, 0x56, 0x9A],
        [0x9A, 0x56, 0x12],
    ]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_counts_in_the_files_own_depth(depth: int) -> None:
    key = (1 << depth) - 1 if depth < 8 else 17
    packed = (key << (8 - depth)) & 0xFF  # the first pixel is the key, the second is 0
    rows = bytes([0, packed]) if depth < 8 else bytes([0, key, 0])
    data = png((2, 1), depth, 0, rows, png_chunk(b"tRNS", struct.pack(">H", key)))
    assert decode(data, LIMIT)[0].tolist() == [WHITE, [0, 0, 0]]


def test_a_palettes_alphas_are_drawn_on_white() -> None:
    palette = png_chunk(b"PLTE", bytes([0, 0, 0, 200, 100, 0, 10, 20, 30]))
    alphas = png_chunk(b"tRNS", bytes([0, 128]))
    data = png((3, 1), 8, 3, b"\0\0\1\2", palette + alphas)
    drawn = decode(data, LIMIT)[0].astype(int)
    assert drawn[0].tolist() == WHITE
    assert drawn[2].tolist() == [10, 20, 30]
    assert np.abs(drawn[1] - [227, 177, 127]).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [4, 6])
def test_alpha_of_8_and_16_bits_is_drawn_on_white(depth: int, colour: int) -> None:
    samples = {4: [100, 128], 6: [100, 100, 100, 128]}[colour]
    form = {8: ">%dB", 16: ">%dH"}[depth] % len(samples)
    rows = b"\0" + struct.pack(form, *(sample * (257 if depth == 16 else 1) for sample in samples))
    assert np.abs(decode(png((1, 1), depth, colour, rows), LIMIT).astype(int) - 177).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", [b"iCCP", b"tIME", b"pHYs", b"gAMA", b"zTXt", b"prVt", b"eXIf"])
def test_damage_and_bulk_beside_the_picture_change_nothing(
    scene: Image.Image, mode: str, kind: bytes
) -> None:
    picture = scene.convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(100)
    plain = save(picture, "PNG")
    bulk = b"name\0\0" + zlib.compress(bytes(3_000_000))
    for content in (b"\1\2\3", bulk):
        for wrong in (False, True):
            beside = png_with(plain, png_chunk(kind, content, wrong=wrong))
            assert np.array_equal(decode(beside, LIMIT), decode(plain, LIMIT))


def test_an_animation_shows_its_default_image_with_and_without_alpha(scene: Image.Image) -> None:
    frames = {"save_all": True, "append_images": [scene.rotate(180)], "default_image": True}
    plain = save(scene, "PNG", **frames)
    see_through = scene.convert("RGBA")
    frames["append_images"] = [see_through.rotate(180)]
    assert np.array_equal(decode(plain, LIMIT), np.asarray(scene))
    assert np.array_equal(decode(save(see_through, "PNG", **frames), LIMIT), np.asarray(scene))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("form", ["eXIf", "prefixed", "tEXt", "zTXt", "iTXt"])
def test_every_form_of_exif_turns_the_picture(scene: Image.Image, mode: str, form: str) -> None:
    content = exif(">", 6)
    digits = b"\nexif\n  %d\n%s\n" % (len(content), content.hex().encode())
    chunk = {
        "eXIf": png_chunk(b"eXIf", content),
        "prefixed": png_chunk(b"eXIf", b"Exif\0\0" + content),
        "tEXt": png_chunk(b"tEXt", b"Raw profile type exif\0" + digits),
        "zTXt": png_chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(digits)),
        "iTXt": png_chunk(b"iTXt", b"Raw profile type exif\0\0\0\0\0" + digits),
    }[form]
    data = png_with(save(scene.convert(mode), "PNG"), chunk)
    upright = scene.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(decode(data, LIMIT), np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_xmp_turns_nothing(scene: Image.Image, mode: str) -> None:
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="3"/>'
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
    data = png_with(save(scene.convert(mode), "PNG"), xmp)
    assert np.array_equal(decode(data, LIMIT), np.asarray(scene))


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_with_half_of_its_rows_is_truncated(colour: int, samples: int, depth: int) -> None:
    rows = (b"\0" + bytes(40 * samples * depth // 8)) * 15
    with pytest.raises(TruncatedImage):
        decode(png((40, 30), depth, colour, rows), LIMIT)


def test_a_palette_with_half_of_its_rows_is_truncated() -> None:
    beside = png_chunk(b"PLTE", bytes(6)) + png_chunk(b"tRNS", b"\0")
    with pytest.raises(TruncatedImage):
        decode(png((40, 30), 8, 3, bytes(41) * 15, beside), LIMIT)


def test_damage_in_the_picture_is_told(scene: Image.Image) -> None:
    data = bytearray(save(scene, "PNG"))
    data[-14] ^= 1  # the checksum of the last IDAT
    with pytest.raises(NotAnImage, match="checksum of its chunk IDAT"):
        decode(bytes(data), LIMIT)


def test_a_chunk_that_the_picture_needs_is_named() -> None:
    data = png_with(png((1, 1), 8, 0, b"\0\0"), png_chunk(b"NEED", b""))
    with pytest.raises(NotAnImage, match="chunk NEED"):
        inspect(data, LIMIT)
