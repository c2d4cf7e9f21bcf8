"""The facts in an image's header, and the checks that all formats share."""

from dataclasses import dataclass

from sluice.errors import ImageTooLarge, NotAnImage, TruncatedImage

# Below the bounds of libpng (1,000,000) and of OpenCV (2 to the 20th).
MAX_SIDE = 1_000_000
_FIRST_LYING = 5  # EXIF's orientations 5 to 8 swap rows and columns


@dataclass(frozen=True)
class Header:
    """The facts in an image's header."""

    format: str
    """One of `FORMATS`."""
    width: int
    """In pixels, before `orientation` is applied."""
    height: int
    """In pixels, before `orientation` is applied."""
    alpha: bool
    """The image has transparency."""
    orientation: int
    """EXIF's number, 1 to 8: how the stored pixels are turned. 1 is upright."""
    decode_bytes: int
    """The most memory that decoding takes, with its result, without the file's own bytes."""

    @property
    def upright_hw(self) -> tuple[int, int]:
        """The height and the width after `orientation` is applied."""
        lies = self.orientation >= _FIRST_LYING
        return (self.width, self.height) if lies else (self.height, self.width)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageTooLarge, or NotAnImage for an image without pixels."""
    if width < 1 or height < 1:
        raise NotAnImage(f"the image has {width} x {height} pixels; send one with pixels")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; at most {max_pixels:,} are allowed"
        )
    if max(width, height) > MAX_SIDE:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels; at most {MAX_SIDE:,} are allowed on a side"
        )


def truncated(data: bytes, name: str) -> TruncatedImage:
    """The error for a file that ends before its picture does."""
    return TruncatedImage(
        f"the {name} is truncated: it ends after {len(data):,} bytes; send the whole file"
    )


def damaged(name: str, reason: str) -> NotAnImage:
    """The error for a file that its decoder would not read."""
    return NotAnImage(f"the {name} is damaged: {reason}; save the image again")


def not_read(name: str, form: str, instead: str) -> NotAnImage:
    """The error for a whole file in a form that Sluice does not read."""
    return NotAnImage(f"{name} with {form} is not read here; {instead}")
