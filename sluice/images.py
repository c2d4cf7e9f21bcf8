"""Read an image's header before its pixels: a file of 50 kB may hold gigabytes of pixels."""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile, UnidentifiedImageError

from sluice.errors import ImageTooLarge, NotAnImage, TruncatedImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

# Markers of JPEG: ITU-T T.81, table B.1. Frames are baseline, extended or progressive.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_SKIPPED = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # no size in these segments
_SCAN = 0xDA


@dataclass(frozen=True)
class Header:
    """The facts in an image's header."""

    format: str
    """One of `FORMATS`."""
    width: int
    """In pixels, before EXIF's orientation is applied."""
    height: int
    """In pixels, before EXIF's orientation is applied."""
    alpha: bool
    """The image has transparency."""


def inspect(data: bytes, max_pixels: int) -> Header:
    """Read an image's header.

    Raises NotAnImage, TruncatedImage, or ImageTooLarge for more than `max_pixels` pixels.
    Truncation is found where the end mark is missing. A decoder may find more.
    """
    if not data:
        raise NotAnImage("the image is empty (0 bytes)")
    if plain := _plain_jpeg(data):
        _check_size(*plain, max_pixels)
        return Header("JPEG", *plain, alpha=False)
    # RIFF holds the size of the rest, little-endian. Pillow gives no reason for a truncated WebP.
    if (
        data[:4] == b"RIFF"
        and data[8:12] == b"WEBP"
        and int.from_bytes(data[4:8], "little") + 8 > len(data)
    ):
        raise _truncated(data, "WEBP")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(
            f"the image has more than {max_pixels:,} pixels; send a smaller one"
        ) from None
    except UnidentifiedImageError:
        raise NotAnImage(
            f"the {len(data):,} bytes are not an image in a supported format: {', '.join(FORMATS)}"
        ) from None
    except Exception as error:
        # Pillow's parsers raise many classes on a damaged header, such as struct.error and OSError.
        raise NotAnImage(f"the image's header can't be read: {error}") from error
    width, height = image.size
    _check_size(width, height, max_pixels)
    if _cut_short(image, data):
        raise _truncated(data, str(image.format))
    return Header(
        format=str(image.format),
        width=width,
        height=height,
        alpha="A" in image.getbands() or "transparency" in image.info,
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed"
        )


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of an ordinary JPEG; None where Pillow must read the header.

    An ordinary JPEG has 8 bits, one or three components, and its end mark. Most submissions are
    ordinary JPEGs, and this function costs much less than Pillow.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at, size = 2, None
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker in _FRAMES:
            if (
                size
                or data[at + 4] != 8
                or data[at + 9] not in (1, 3)
                or length != 8 + 3 * data[at + 9]
            ):
                return None
            size = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
        elif marker == _SCAN:
            return size if size and all(size) and data.rfind(b"\xff\xd9", at) > 0 else None
        elif marker not in _SKIPPED or length < 2:
            return None
        at += 2 + length
    return None


def _truncated(data: bytes, name: str) -> TruncatedImage:
    return TruncatedImage(
        f"the {name} is truncated: it ends after {len(data):,} bytes; send the whole file"
    )


def _cut_short(image: Image.Image, data: bytes) -> bool:
    """Return whether the end mark is missing. Cheap, and never true of a whole file."""
    assert isinstance(image, ImageFile.ImageFile)
    match image.format:
        case "JPEG":
            # The scan starts where Pillow stopped; a thumbnail's end mark lies before that.
            start = image.fp.tell()  # type: ignore[union-attr]  # open until its pixels are loaded
            return data.rfind(b"\xff\xd9", start) < 0  # searched from the end
        case "PNG":
            return data.rfind(b"IEND") < 0
        case "BMP":
            codec, _, offset, args = image.tile[0]
            stride = args[1] if isinstance(args, tuple) else 0
            return codec == "raw" and offset + stride * image.height > len(data)
    return False
