"""BMP, TIFF, GIF and AVIF: masks, pages, sample formats, first frames."""

import struct

import numpy as np
import pytest
from PIL import Image

from sluice.errors import NotAnImage, TruncatedImage
from sluice.images import inspect
from tests.support.image_files import bmp, exif, save, tiff
from worker.decode import decode

LIMIT = 3_000_000
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
WHITE = [255, 255, 255]


@pytest.fixture
def scene() -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("height", [2, -2])
def test_an_alpha_of_0_everywhere_is_none(height: int) -> None:
    rows = bytes([10, 20, 30, 0, 40, 50, 60, 0])
    expected = [[[30, 20, 10]], [[60, 50, 40]]]
    pixels = decode(bmp((1, height), 32, rows, BGRA, 3), LIMIT).tolist()
    assert pixels == (expected if height < 0 else expected[::-1])


def test_an_alpha_of_a_bmp_is_drawn_on_white() -> None:
    rows = bytes([10, 20, 30, 0, 40, 50, 60, 255])
    assert decode(bmp((2, 1), 32, rows, BGRA, 3), LIMIT).tolist() == [[WHITE, [60, 50, 40]]]


@pytest.mark.parametrize(
    ("bits", "masks", "value", "colour"),
    [
        (16, (0xF800, 0x7E0, 0x1F), 0xF800 | 0x1F, [255, 0, 255]),
        (16, (0xF00, 0xF0, 0xF), 0x80F, [136, 0, 255]),
        (32, (0x3FF00000, 0xFFC00, 0x3FF), 0x3FF << 20 | 0x3FF, [255, 0, 255]),
        (32, (0xFF, 0xFF00, 0xFF0000), 0x00030201, [1, 2, 3]),
    ],
)
def test_any_masks_of_a_bmp_are_read(
    bits: int, masks: tuple[int, ...], value: int, colour: list[int]
) -> None:
    rows = struct.pack("<H2x" if bits == 16 else "<I", value)
    assert decode(bmp((1, 1), bits, rows, masks, 3), LIMIT).tolist() == [[colour]]


def test_a_bmp_without_masks_has_no_alpha() -> None:
    assert decode(bmp((1, 1), 32, bytes([1, 2, 3, 0])), LIMIT).tolist() == [[[3, 2, 1]]]


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_palettes_of_bmp_are_read(scene: Image.Image, mode: str) -> None:
    picture = scene.quantize(200) if mode == "P" else scene.convert(mode)
    data = save(picture, "BMP")
    assert np.array_equal(decode(data, LIMIT), np.asarray(picture.convert("RGB")))


def _page(width: int, height: int, **more: int) -> dict[int, tuple[int, ...]]:
    tags = {"reduced": 254, "old_reduced": 255, "bits": 258, "packing": 259, "format": 339}
    fields = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height}
    fields |= {tags[name]: value for name, value in more.items()}
    return {tag: (value,) for tag, value in fields.items()}


@pytest.mark.parametrize("mark", [{"reduced": 1}, {"reduced": 4}, {"old_reduced": 2}])
def test_a_reduced_page_or_a_mask_is_passed_over(mark: dict[str, int]) -> None:
    data = tiff([_page(1, 1, **mark), _page(2, 1), _page(1, 1)], [b"\x07", b"\x10\x20", b"\x09"])
    assert decode(data, LIMIT)[:, :, 0].tolist() == [[0x10, 0x20]]


def test_the_largest_of_reduced_pages_only_is_read() -> None:
    data = tiff([_page(1, 1, reduced=1), _page(2, 1, reduced=1)], [b"\x07", b"\x10\x20"])
    assert decode(data, LIMIT).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": 3, "bits": 32}, "floating-point"),
        ({"format": 3, "bits": 64}, "floating-point"),
        ({"format": 2, "bits": 8}, "signed"),
        ({"format": 2, "bits": 16}, "signed"),
        ({"bits": 32}, "32 bits"),
        ({"packing": 34712}, "compression 34712"),
    ],
    ids=str,
)
def test_forms_of_tiff_that_are_not_read_are_named(fields: dict[str, int], reason: str) -> None:
    with pytest.raises(NotAnImage, match=reason):
        inspect(tiff([_page(4, 4, **fields)], [bytes(128)]), LIMIT)


def test_more_strips_than_a_writer_makes_are_refused() -> None:
    page = _page(1, 100_001) | {278: (1,)}
    data = bytearray(tiff([page], [b"\0"]))
    entry = data.index(struct.pack("<HHI", 273, 4, 1))
    data[entry : entry + 8] = struct.pack("<HHI", 273, 4, 100_001)
    with pytest.raises(NotAnImage, match="more than 100,000 strips"):
        inspect(bytes(data), LIMIT)


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "lzma", "zstd"])
def test_a_cut_tiff_is_truncated_and_a_whole_one_read(scene: Image.Image, packing: str) -> None:
    whole = save(scene, "TIFF", compression=packing)
    assert np.array_equal(decode(whole, LIMIT), np.asarray(scene))
    with pytest.raises(TruncatedImage):
        inspect(whole[: len(whole) * 2 // 3], LIMIT)


@pytest.mark.parametrize("zero_is_white", [False, True])
def test_16_bits_of_grey_in_a_tiff_have_their_polarity(zero_is_white: bool) -> None:
    page = _page(2, 1, bits=16) | {262: (0 if zero_is_white else 1,)}
    pixels = decode(tiff([page], [struct.pack("<2H", 0x1000, 0xF000)]), LIMIT)[0, :, 0].tolist()
    assert pixels == ([0xEF, 0x0F] if zero_is_white else [0x10, 0xF0])


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_tiff_is_turned_once(scene: Image.Image, turn: int) -> None:
    tag = Image.Exif()
    tag[0x0112] = turn
    turns = {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
        8: Image.Transpose.ROTATE_90,
    }
    upright = scene.transpose(turns[turn]) if turn > 1 else scene
    for packing in ("raw", "tiff_lzw"):
        data = save(scene, "TIFF", compression=packing, exif=tag)
        assert np.array_equal(decode(data, LIMIT), np.asarray(upright))


def test_the_first_frame_of_a_gif_is_read_on_white(scene: Image.Image) -> None:
    indexed = scene.quantize(16)
    data = save(indexed, "GIF", transparency=3, save_all=True, append_images=[indexed.rotate(180)])
    pixels = decode(data, LIMIT)
    stored = np.asarray(indexed)
    assert pixels.shape == (*stored.shape, 3)
    assert (pixels == 255).all(axis=2).any()


def test_a_gif_that_was_cut_and_closed_is_truncated(scene: Image.Image) -> None:
    noise = Image.effect_noise((64, 48), 90)
    whole = save(noise, "GIF")
    decode(whole, LIMIT)
    with pytest.raises(TruncatedImage):
        decode(whole[: whole.index(b"\xff", 800) + 256] + b"\0;", LIMIT)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_is_read_and_turned(scene: Image.Image, mode: str) -> None:
    picture = scene.convert(mode)
    if mode == "RGBA":
        picture.putalpha(255)
    data = save(picture, "AVIF", quality=95, exif=exif("<", 6))
    upright = np.asarray(scene.transpose(Image.Transpose.ROTATE_270), np.int16)
    pixels = decode(data, LIMIT)
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).mean() < 4
    with pytest.raises(TruncatedImage):
        inspect(data[: len(data) // 2], LIMIT)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_side_of_more_than_a_million_is_refused_for_its_side(kind: str) -> None:
    long = save(Image.new("1", (1_000_001, 1)), kind)
    with pytest.raises(Exception, match="1,000,000 are allowed on a side"):
        inspect(long, LIMIT)
    assert decode(save(Image.new("1", (1_000_000, 1)), kind), LIMIT).shape == (1, 1_000_000, 3)


def _rle(bits: int, packing: int, rows: bytes) -> bytes:
    """A BMP of 4 x 2 pixels whose palette has black, red and blue."""
    palette = bytes([0, 0, 0, 0, 0, 0, 200, 0, 100, 0, 0, 0])
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, bits, packing, len(rows), 0, 0, 3, 0)
    at = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at) + header + palette + rows


@pytest.mark.parametrize(
    ("bits", "packing", "rows"),
    [
        (8, 1, bytes([4, 1, 0, 0, 2, 1, 2, 2, 0, 1])),
        (8, 1, bytes([4, 1, 0, 0, 0, 4, 1, 1, 2, 2, 0, 1])),
        (4, 2, bytes([4, 0x11, 0, 0, 2, 0x11, 2, 0x22, 0, 1])),
        (4, 2, bytes([4, 0x11, 0, 0, 0, 4, 0x11, 0x22])),
    ],
)
def test_run_lengths_of_a_bmp_are_read(bits: int, packing: int, rows: bytes) -> None:
    red, blue = [200, 0, 0], [0, 0, 100]
    expected = [[red, red, blue, blue], [red] * 4]
    assert decode(_rle(bits, packing, rows), LIMIT).tolist() == expected


def test_run_lengths_that_end_early_are_truncated_and_skipped_pixels_are_not() -> None:
    with pytest.raises(TruncatedImage):
        decode(_rle(8, 1, bytes([4, 1, 0, 0, 2, 1])), LIMIT)
    with pytest.raises(TruncatedImage):
        decode(_rle(8, 1, bytes([4, 1, 0, 1])), LIMIT)
    skipped = decode(_rle(8, 1, bytes([0, 2, 2, 1, 2, 1, 0, 1])), LIMIT)
    assert skipped[:, :, 0].tolist() == [[0, 0, 200, 200], [0] * 4]
