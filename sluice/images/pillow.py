"""Opening files with Pillow, which reads their headers only."""

from io import BytesIO

from PIL import Image, UnidentifiedImageError

from sluice.errors import ImageTooLarge
from sluice.images import ifd
from sluice.images.header import Header, check_size, damaged, not_read, truncated

# Bytes that Pillow takes for a pixel of each mode that is read here.
_BYTES = {
    "1": 1,
    "L": 1,
    "P": 1,
    "LA": 4,
    "La": 4,
    "PA": 4,
    "RGB": 4,
    "RGBA": 4,
    "RGBX": 4,
    "RGBa": 4,
    "CMYK": 4,
    "YCbCr": 4,
    "I;16": 2,
    "I;16B": 2,
    "I;16L": 2,
}
# dav1d's planes of 16 bits twice, libavif's RGBA, Pillow's copy, its image, and the result.
_AVIF_BYTES = 26


def open_image(data: bytes, name: str) -> Image.Image:
    """Open a file of the format `name`; its pixels are not read.

    Raises NotAnImage, or ImageTooLarge.
    """
    try:
        return Image.open(BytesIO(data), formats=(name,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge("the image has too many pixels; send a smaller one") from None
    except UnidentifiedImageError:
        if name == "TIFF":
            form, instead = "this arrangement of its samples", "save it as RGB with 8 bits a sample"
            raise not_read(name, form, instead) from None
        raise damaged(name, "its header can't be read") from None
    except Exception as error:
        # Pillow's parsers raise many classes on a damaged header, such as struct.error and OSError.
        raise damaged(name, f"its header can't be read ({error})") from error


def check_mode(image: Image.Image) -> None:
    """Raises NotAnImage for a colour mode that is not read here."""
    if image.mode not in _BYTES:
        raise not_read(
            str(image.format), f"pixels of the kind {image.mode}", "save it as RGB with 8 bits"
        )


def stored_bytes(image: Image.Image) -> int:
    """The bytes that Pillow takes for one pixel."""
    return _BYTES[image.mode]


def has_alpha(image: Image.Image) -> bool:
    """Return whether pixels may be transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def inspect_gif(data: bytes, max_pixels: int) -> Header:
    """The first frame's header. Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    if len(data) < 14:
        raise truncated(data, "GIF")
    image = open_image(data, "GIF")
    check_size(*image.size, max_pixels)
    check_mode(image)
    return Header("GIF", *image.size, has_alpha(image), 1, image.width * image.height * 6)


def inspect_avif(data: bytes, max_pixels: int) -> Header:
    """The first frame's header. Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    if _ends_within_a_box(data):
        raise truncated(data, "AVIF")
    image = open_image(data, "AVIF")
    check_size(*image.size, max_pixels)
    check_mode(image)
    # Pillow turns the container's rotation and mirror into EXIF's number.
    exif = image.info.get("exif", b"")
    pixels = image.width * image.height
    return Header(
        "AVIF", *image.size, has_alpha(image), ifd.orientation(exif), pixels * _AVIF_BYTES
    )


def _ends_within_a_box(data: bytes) -> bool:
    """Return whether a box goes past the end of the bytes (ISO 14496-12, 4.2)."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: up to the end of the file
            return False
        at += size
    return at > len(data)
