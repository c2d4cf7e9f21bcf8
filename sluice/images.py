"""What an image's header says, read before anything is decoded: a header of 50 kB can promise gigabytes of pixels."""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile, UnidentifiedImageError

from sluice.errors import ImageTooLarge, NotAnImage, TruncatedImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class Header:
    """`width` and `height` are pixels as stored, before EXIF's orientation is applied."""

    format: str
    width: int
    height: int
    alpha: bool


def inspect(data: bytes, max_pixels: int) -> Header:
    """Read an image's header.

    Raises NotAnImage, TruncatedImage where the end is seen to be missing (a decoder may still find more), or ImageTooLarge when
    there are more than `max_pixels` pixels.
    """
    if not data:
        raise NotAnImage("the image is empty (0 bytes)")
    # RIFF says the size of all that follows, little-endian. Pillow opens no WebP that is cut short, and does not say why.
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise _truncated(data, "WEBP")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"the image has more than {max_pixels:,} pixels; send a smaller one") from None
    except UnidentifiedImageError:
        raise NotAnImage(f"the {len(data):,} bytes are no image of a kind that is read here: {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's parsers raise many kinds on a damaged header (struct.error, SyntaxError, OSError, …)
        raise NotAnImage(f"the image's header can't be read: {error}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed")
    if _cut_short(image, data):
        raise _truncated(data, str(image.format))
    return Header(
        format=str(image.format),
        width=width,
        height=height,
        alpha="A" in image.getbands() or "transparency" in image.info,
    )


def _truncated(data: bytes, name: str) -> TruncatedImage:
    return TruncatedImage(f"the image ends before its pixels do ({len(data):,} bytes of a {name}); send all of it")


def _cut_short(image: Image.Image, data: bytes) -> bool:
    """Whether the mark with which a whole file ends is missing. Cheap, and never true of a whole file."""
    assert isinstance(image, ImageFile.ImageFile)
    match image.format:
        case "JPEG":  # the scan starts where Pillow stopped reading; an embedded thumbnail's end mark lies before that
            start = image.fp.tell()  # type: ignore[union-attr]  # open until its pixels are loaded
            return data.rfind(b"\xff\xd9", start) < 0  # from the end, where it mostly is
        case "PNG":
            return data.rfind(b"IEND") < 0
        case "BMP":
            codec, _, offset, args = image.tile[0]
            stride = args[1] if isinstance(args, tuple) else 0
            return codec == "raw" and offset + stride * image.height > len(data)
    return False
