"""Read an image's header before its pixels: a file of 50 kB may hold gigabytes of pixels.

Each format has a module. The worker's decoder reads the same facts from it, so that both agree
on the picture. No pixel is decoded here.
"""

from collections.abc import Callable

from sluice.errors import NotAnImage
from sluice.images import bmp, jpeg, pillow, png, tiff, webp
from sluice.images.header import Header
from sluice.images.other import is_avif, name_other

__all__ = ["FORMATS", "Header", "inspect"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")


def inspect(data: bytes, max_pixels: int) -> Header:
    """Read an image's header.

    Raises NotAnImage, TruncatedImage, or ImageTooLarge for more than `max_pixels` pixels.
    Each refusal says why. A decoder may find more damage.
    """
    if not data:
        raise NotAnImage("the image is empty (0 bytes)")
    for is_of_format, inspect_format in _FORMATS:
        if is_of_format(data):
            return inspect_format(data, max_pixels)
    raise NotAnImage(
        name_other(data)
        or f"the {len(data):,} bytes are not an image in a supported format: {', '.join(FORMATS)}"
    )


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, int], Header]], ...] = (
    (_begins(jpeg.START), jpeg.inspect),
    (_begins(png.START), png.inspect),
    (webp.is_webp, webp.inspect),
    (_begins(b"BM"), bmp.inspect),
    (_begins(*tiff.STARTS), tiff.inspect),
    (_begins(b"GIF87a", b"GIF89a"), pillow.inspect_gif),
    (is_avif, pillow.inspect_avif),
)
