"""Headers of image files, of every format, whole and damaged."""

from io import BytesIO
from random import Random

import pytest
from PIL import Image

from sluice.errors import ImageTooLarge, NotAnImage, SluiceError, TruncatedImage
from sluice.images import inspect

LIMIT = 10_000


def _file(
    kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object
) -> bytes:
    out = BytesIO()
    Image.effect_noise(size, 100).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_the_header_of_every_format_is_read(kind: str) -> None:
    header = inspect(_file(kind), LIMIT)
    assert (header.format, header.width, header.height, header.alpha) == (kind, 40, 30, False)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA")]
)
def test_an_image_with_an_alpha_channel_has_alpha(kind: str, mode: str) -> None:
    image = Image.effect_noise((40, 30), 100).convert(mode)
    image.putalpha(128)
    out = BytesIO()
    image.save(out, kind)
    assert inspect(out.getvalue(), LIMIT).alpha


def test_a_palette_with_transparency_has_alpha() -> None:
    assert inspect(_file("PNG", mode="P", transparency=3), LIMIT).alpha
    assert not inspect(_file("PNG", mode="P"), LIMIT).alpha


def test_an_image_with_too_many_pixels_is_refused() -> None:
    assert inspect(_file("PNG", (100, 100)), LIMIT).width == 100
    with pytest.raises(ImageTooLarge, match="101 x 100 pixels; at most 10,000"):
        inspect(_file("PNG", (101, 100)), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"GIF89a" + bytes(50),
        b"<svg/>",
        bytes(5000),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
    ],
)
def test_bytes_of_no_known_format_are_not_an_image(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        inspect(data, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_whose_end_is_missing_is_truncated(kind: str) -> None:
    whole = _file(kind)
    for length in (len(whole) - 20, len(whole) * 2 // 3):
        with pytest.raises(TruncatedImage):
            inspect(whole[:length], LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_bytes_after_the_images_end_are_ignored(kind: str) -> None:
    assert inspect(_file(kind) + b"trailing", LIMIT).format == kind


def test_the_end_mark_of_an_exif_thumbnail_is_not_the_images() -> None:
    """A JPEG in the EXIF data has its own end mark."""
    thumbnail = _file("JPEG", (16, 12))
    whole = _file("JPEG", exif=b"Exif\0\0" + thumbnail)
    inspect(whole, LIMIT)
    with pytest.raises(TruncatedImage):
        inspect(whole[:-30], LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_any_prefix_of_a_file_gives_a_header_or_a_sluice_error(kind: str) -> None:
    whole = _file(kind)
    for length in range(len(whole)):
        try:
            inspect(whole[:length], LIMIT)
        except SluiceError:
            continue


def test_a_plain_jpeg_has_the_size_that_pillow_finds() -> None:
    """A damaged header is refused, or read as Pillow reads it where Pillow can."""
    random, agreed = Random(1), 0
    files = [
        _file("JPEG", (40, 30), mode, progressive=progressive)
        for mode in ("RGB", "L")
        for progressive in (False, True)
    ]
    for _ in range(5000):
        data = bytearray(random.choice(files))
        for _ in range(random.randrange(3)):
            data[random.randrange(700)] = random.randrange(256)
        try:
            header = inspect(bytes(data), 2**32)
            image = Image.open(BytesIO(data))
        except (SluiceError, OSError, SyntaxError):
            continue
        if header.format == image.format == "JPEG":
            assert (header.width, header.height) == image.size
            agreed += 1
    assert agreed > 1000


def test_a_cmyk_jpeg_is_read_by_pillow() -> None:
    header = inspect(_file("JPEG", mode="CMYK"), LIMIT)
    assert (header.format, header.width, header.height) == ("JPEG", 40, 30)
