"""WebP: its chunks, and the picture without what stands beside it.

The format is that of RFC 9649.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sluice.images import ifd
from sluice.images.header import Header, check_size, damaged, truncated

_ALPHA_FLAG = 0x10
_OPENCV_BYTES = 32  # OpenCV looks at no shorter file


@dataclass(frozen=True)
class Webp:
    """The facts in the chunks. Of an animation, the frame is the first one."""

    width: int
    height: int
    left: int
    top: int
    """The frame's place on the canvas, in pixels."""
    frame_width: int
    frame_height: int
    alpha: bool
    orientation: int
    picture: bytes
    """A WebP of the frame alone, which its decoder gets."""


def inspect(data: bytes, max_pixels: int) -> Header:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    webp = read(data, max_pixels)
    # The result, OpenCV's pixels of 4 bytes, and the lossless decoder's own 4 bytes.
    return Header(
        format="WEBP",
        width=webp.width,
        height=webp.height,
        alpha=webp.alpha,
        orientation=webp.orientation,
        decode_bytes=webp.width * webp.height * 3 + webp.frame_width * webp.frame_height * 9,
    )


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read(data: bytes, max_pixels: int) -> Webp:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    if len(data) < 20 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise truncated(data, "WEBP")
    canvas, frame, turned, alphas = None, None, 1, b""
    end = int.from_bytes(data[4:8], "little") + 8
    for kind, content in _chunks(data, 12, end):
        if kind == b"VP8X" and len(content) >= 10 and canvas is None:
            canvas = _three(content, 4) + 1, _three(content, 7) + 1
            check_size(*canvas, max_pixels)
        elif kind == b"EXIF":
            turned = ifd.orientation(content)
        elif kind == b"ALPH" and frame is None:
            alphas = content
        elif kind in (b"VP8 ", b"VP8L") and frame is None:
            frame = _Frame(0, 0, kind, content, alphas)
        elif kind == b"ANMF" and frame is None and len(content) >= 16:
            frame = _animation_frame(content)
        if frame is not None and canvas is None:
            break
    if frame is None:
        raise damaged("WEBP", "it has no picture")
    width, height, alpha = frame.header()
    check_size(width, height, max_pixels)
    canvas = canvas or (width, height)
    if frame.left + width > canvas[0] or frame.top + height > canvas[1]:
        raise damaged("WEBP", "its picture is larger than its canvas")
    return Webp(
        *canvas, frame.left, frame.top, width, height, alpha, turned, frame.alone(width, height)
    )


@dataclass(frozen=True)
class _Frame:
    left: int
    top: int
    kind: bytes
    content: bytes
    alphas: bytes

    def header(self) -> tuple[int, int, bool]:
        """The frame's width, its height, and whether it has an alpha channel."""
        content = self.content
        if self.kind == b"VP8 ":  # RFC 6386, 9.1
            if len(content) < 10 or content[3:6] != b"\x9d\x01\x2a":
                raise damaged("WEBP", "its picture has no header")
            width, height = struct.unpack_from("<HH", content, 6)
            return width & 0x3FFF, height & 0x3FFF, self.alphas != b""
        if len(content) < 5 or content[0] != 0x2F:
            raise damaged("WEBP", "its picture has no header")
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)

    def alone(self, width: int, height: int) -> bytes:
        """A WebP of this frame and no more."""
        body = _chunk(self.kind, self.content)
        if self.kind == b"VP8 " and self.alphas:
            sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
            body = (
                _chunk(b"VP8X", bytes([_ALPHA_FLAG, 0, 0, 0]) + sides)
                + _chunk(b"ALPH", self.alphas)
                + body
            )
        alone = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
        return alone.ljust(_OPENCV_BYTES, b"\0")


def _animation_frame(content: bytes) -> _Frame | None:
    """The frame in a chunk ANMF; its place is stored in steps of 2 pixels."""
    left, top, alphas = 2 * _three(content, 0), 2 * _three(content, 3), b""
    for kind, part in _chunks(content, 16, len(content)):
        if kind == b"ALPH":
            alphas = part
        elif kind in (b"VP8 ", b"VP8L"):
            return _Frame(left, top, kind, part, alphas)
    return None


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's type and content. Raises TruncatedImage where one goes past `end`."""
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise truncated(data, "WEBP")
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def _three(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
