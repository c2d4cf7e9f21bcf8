"""Images in every form that a program has them, as the service takes them."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image as PillowImage

Image: TypeAlias = "bytes | str | os.PathLike[str] | BinaryIO | npt.NDArray[Any] | PillowImage"
"""An encoded image, a path, a URL, an open file, an array, or an image of Pillow.

An array is uint8, of shape (height, width) or (height, width, 1, 3 or 4).
Colours are BGR or BGRA, as OpenCV reads them.
"""

_URL_SCHEMES = ("http://", "https://", "data:")


def read(image: Any) -> bytes | str:
    """Return the encoded image, or the URL of an image that the service fetches.

    Arrays and images of Pillow become PNG, which loses nothing.
    Raises OSError where a file can't be read. Raises TypeError or ValueError for any other image.
    """
    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case str() if image.lower().startswith(_URL_SCHEMES):
            return image
        case str() | os.PathLike():
            return Path(image).read_bytes()
    if hasattr(image, "read"):
        return _from_file(image)
    if hasattr(image, "save"):
        return _png(image)
    if hasattr(image, "__array_interface__"):
        return _from_array(image)
    raise TypeError(
        f"an image is bytes, a path, a URL, an open file, an array or a Pillow image,"
        f" not {type(image).__name__}"
    )


def name_of(image: Any) -> str | None:
    """Return the path or URL that an image was given by, or None."""
    if isinstance(image, str | os.PathLike):
        text = os.fspath(image)
        return text if not text.startswith("data:") else None
    name = getattr(image, "name", None)
    return name if isinstance(name, str) else None


def _from_file(file: Any) -> bytes:
    data = file.read()
    if not isinstance(data, bytes):
        raise TypeError("open the image's file in binary mode: open(path, 'rb')")
    return data


def _from_array(array: Any) -> bytes:
    """Encode with Pillow, whose channels are in the opposite order."""
    from PIL import Image as Pillow  # noqa: PLC0415  # slow to import

    shape, dtype = tuple(array.shape), str(array.dtype)
    if dtype != "uint8" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        raise ValueError(
            "an array must be uint8, (height, width) or (height, width, 1, 3 or 4),"
            f" not {dtype} {shape}"
        )
    if len(shape) == 3:
        order = {1: 0, 3: [2, 1, 0], 4: [2, 1, 0, 3]}[shape[2]]
        array = array[:, :, order]
    return _png(Pillow.fromarray(array))


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # higher levels cost far more time than bytes
    return buffer.getvalue()
