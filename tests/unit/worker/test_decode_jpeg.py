"""JPEG: orientation in every form, cut files that close properly, and rare forms."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from sluice.errors import NotAnImage, TruncatedImage
from sluice.images import inspect
from tests.support.image_files import exif, jpeg_with_exif, save, webp_with
from worker.decode import decode

LIMIT = 1_000_000


@pytest.fixture
def scene() -> Image.Image:
    """Noise on a gradient: every block differs from grey."""
    generator = np.random.default_rng(1)
    x, y = np.meshgrid(np.linspace(0, 200, 160), np.linspace(0, 200, 120))
    smooth = np.stack([x, y, 200 - x], axis=-1)
    return Image.fromarray((smooth + generator.integers(0, 55, smooth.shape)).astype(np.uint8))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_counts_in_every_byte_order_and_type(
    scene: Image.Image, order: str, kind: int, turn: int
) -> None:
    plain = save(scene, "JPEG", quality=95)
    stored = Image.fromarray(decode(plain, LIMIT))
    tag = Image.Exif()
    tag[0x0112] = turn
    stored.info["exif"] = tag.tobytes()
    stored.getexif()[0x0112] = turn
    upright = np.asarray(ImageOps.exif_transpose(stored))
    content = exif(order, turn, kind)
    assert np.array_equal(decode(jpeg_with_exif(plain, content), LIMIT), upright)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", [3, 4])
def test_webp_is_turned_with_and_without_alpha_and_prefix(
    scene: Image.Image, mode: str, prefix: bytes, kind: int
) -> None:
    plain = save(scene.convert(mode), "WEBP", lossless=True)
    assert plain[12:16] == b"VP8L"
    data = webp_with(plain, scene.size, b"EXIF", prefix + exif(">", 8, kind))
    upright = scene.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(decode(data, LIMIT), np.asarray(upright))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": 0},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"progressive": True, "restart_marker_rows": 2},
    ],
    ids=str,
)
def test_a_jpeg_that_was_cut_and_closed_is_truncated(
    scene: Image.Image, mode: str, options: dict[str, object]
) -> None:
    whole = save(scene.convert(mode), "JPEG", quality=90, **options)
    decode(whole, LIMIT)
    for share in (0.2, 0.5, 0.8, 0.95):
        cut = whole[: int(len(whole) * share)].rstrip(b"\xff")
        with pytest.raises(NotAnImage):  # TruncatedImage, but for a cut within a table
            decode(cut + b"\xff\xd9", LIMIT)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_grey_picture_is_whole(mode: str, progressive: bool) -> None:
    """The cut part of a JPEG looks like this one."""
    grey = Image.new("L", (150, 100), 128).convert(mode)
    assert (decode(save(grey, "JPEG", progressive=progressive), LIMIT) == 128).all()


def test_a_jpeg_without_any_scans_data_is_truncated(scene: Image.Image) -> None:
    whole = save(scene, "JPEG")
    scan = whole.index(b"\xff\xda")
    with pytest.raises(TruncatedImage):
        decode(whole[: scan + 14] + b"\xff\xd9", LIMIT)
    with pytest.raises(TruncatedImage):
        inspect(whole[:scan] + b"\xff\xd9", LIMIT)


@pytest.mark.parametrize(
    ("frame", "bits", "reason"),
    [(0xC1, 12, "12 bits a sample"), (0xC5, 8, "frame C5"), (0xCB, 8, "frame CB")],
)
def test_forms_of_jpeg_that_are_not_read_are_named(
    scene: Image.Image, frame: int, bits: int, reason: str
) -> None:
    data = bytearray(save(scene, "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = frame, bits
    with pytest.raises(NotAnImage, match=reason):
        inspect(bytes(data), LIMIT)


def test_more_scans_than_an_encoder_writes_are_refused(scene: Image.Image) -> None:
    whole = save(scene, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    with pytest.raises(NotAnImage, match="more than 200 scans"):
        inspect(whole[:-2] + whole[last:-2] * 300 + b"\xff\xd9", LIMIT)


def test_the_first_picture_of_an_mpo_is_read(scene: Image.Image) -> None:
    other = scene.rotate(180)
    data = save(scene, "MPO", save_all=True, append_images=[other], quality=95)
    first = save(scene, "JPEG", quality=95)
    assert np.array_equal(decode(data, LIMIT), decode(first, LIMIT))
