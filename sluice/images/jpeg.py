"""JPEG: its segments up to the first scan, and the scans. Markers are those of ITU-T T.81."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sluice.images import ifd
from sluice.images.header import Header, check_size, damaged, not_read, truncated

START = b"\xff\xd8"
_END = b"\xff\xd9"
_SCAN = 0xDA
_RESTART_INTERVAL = 0xDD
_APP1 = 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # table B.1
# More scans than any encoder writes. Each scan costs a pass over all pixels, however short it is.
_MOST_SCANS = 200
_LARGEST_FRAME_BYTES = 2 + 6 + 3 * 4

_MOST_SEGMENTS = 5000

# A marker of a segment, or the end mark; the others have no length.
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
# A marker within or after a scan's data: neither a stuffed zero nor a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Jpeg:
    """The facts in the segments before the first scan."""

    frame: int
    """The marker of the frame: C0 to C2 are baseline, extended and progressive."""
    bits: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical sampling of each component."""
    first_component: int
    """The first component's number: grey, or luma."""
    restart_interval: int
    """MCUs between two restart markers; 0 for none."""
    exif: bytes
    scan_at: int
    """The place of the first scan's marker."""

    @property
    def progressive(self) -> bool:
        return self.frame in (0xC2, 0xCA)


def inspect(data: bytes, max_pixels: int) -> Header:
    """Raises NotAnImage, TruncatedImage or ImageTooLarge."""
    jpeg = read(data)
    check_size(jpeg.width, jpeg.height, max_pixels)
    _check_form(jpeg)
    # A thumbnail's end mark lies before the scan. Searched from the end, which is fast.
    if data.rfind(_END, jpeg.scan_at) < 0:
        raise truncated(data, "JPEG")
    if jpeg.progressive and data.count(b"\xff\xda", jpeg.scan_at) > _MOST_SCANS:
        raise not_read("JPEG", f"more than {_MOST_SCANS} scans", "save it as an ordinary JPEG")
    return Header(
        format="JPEG",
        width=jpeg.width,
        height=jpeg.height,
        alpha=False,
        orientation=ifd.orientation(jpeg.exif) if jpeg.exif else 1,
        decode_bytes=jpeg.width * jpeg.height * _bytes_per_pixel(jpeg),
    )


def read(data: bytes) -> Jpeg:
    """Read the segments before the first scan. Raises NotAnImage or TruncatedImage."""
    at, frame, interval = 2, None, 0
    exif: list[bytes] = []
    for _ in range(_MOST_SEGMENTS):
        found = _SEGMENT.search(data, at)
        if found is None or found.start() + 4 > len(data):
            raise truncated(data, "JPEG")
        at = found.start()
        marker = data[at + 1]
        if marker == 0xD9:
            raise truncated(data, "JPEG")
        length = data[at + 2] << 8 | data[at + 3]
        if marker == _SCAN:
            break
        if length < 2:
            raise damaged("JPEG", f"its segment {marker:X} has no length")
        if marker in _FRAMES:
            if frame:
                raise not_read("JPEG", "several frames", "save it as an ordinary JPEG")
            frame = marker, data[at + 4 : at + 2 + min(length, _LARGEST_FRAME_BYTES)]
        elif marker == _RESTART_INTERVAL and length == 4 and at + 6 <= len(data):
            interval = data[at + 4] << 8 | data[at + 5]
        elif marker == _APP1 and data.startswith(b"Exif\0\0", at + 4):
            exif.append(data[at + 10 : at + 2 + length])
        at += 2 + length
    else:
        raise not_read("JPEG", f"more than {_MOST_SEGMENTS:,} segments", "save it again")
    if not frame:
        raise damaged("JPEG", "it has a scan and no frame")
    return _read_frame(data, *frame, interval, b"".join(exif), at)


def scans(data: bytes, scan_at: int) -> Iterator[tuple[int, int]]:
    """Yield where each scan of the first picture begins and ends.

    A scan begins with its marker and ends at the next marker that is no restart.
    The last one ends at the end mark, or at the end of the bytes.
    """
    at = scan_at
    while True:
        start = at
        is_scan = data[start + 1] == _SCAN
        at += 2 + (data[at + 2] << 8 | data[at + 3]) if at + 4 <= len(data) else len(data)
        following = _MARKER.search(data, at)
        if is_scan:
            yield start, following.start() if following else len(data)
        if following is None:
            return
        at = following.end() - 2
        if data[at + 1] == 0xD9:
            return


def restarts(jpeg: Jpeg, components: int) -> int:
    """The restart markers that a scan of `components` components must have; 0 where unknown."""
    if not jpeg.restart_interval or (components > 1 and components != len(jpeg.sampling)):
        return 0
    wide = 8 * (max(h for h, _ in jpeg.sampling) if components > 1 else 1)
    high = 8 * (max(v for _, v in jpeg.sampling) if components > 1 else 1)
    if components == 1 < len(jpeg.sampling):
        return 0
    units = -(-jpeg.width // wide) * -(-jpeg.height // high)
    return -(-units // jpeg.restart_interval) - 1


def _read_frame(
    data: bytes, marker: int, frame: bytes, interval: int, exif: bytes, scan_at: int
) -> Jpeg:
    if len(frame) < 9 or len(frame) < 6 + 3 * frame[5]:
        if len(frame) >= 6 and frame[5] > 4:
            raise not_read("JPEG", f"{frame[5]} components", "save it in grey, RGB or CMYK")
        raise damaged("JPEG", "its frame is too short")
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    sampling = tuple(
        (frame[7 + 3 * index] >> 4, frame[7 + 3 * index] & 15) for index in range(components)
    )
    if not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling):
        raise damaged("JPEG", "its frame has an impossible sampling")
    return Jpeg(marker, bits, width, height, sampling, frame[6], interval, exif, scan_at)


def _check_form(jpeg: Jpeg) -> None:
    """Raises NotAnImage for a form that the decoder does not read."""
    save = "save it as an ordinary JPEG of 8 bits"
    if jpeg.bits != 8:
        raise not_read("JPEG", f"{jpeg.bits} bits a sample", save)
    if jpeg.frame not in (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA):
        raise not_read("JPEG", f"frame {jpeg.frame:X} (hierarchical or arithmetic)", save)
    if len(jpeg.sampling) not in (1, 3, 4):
        raise not_read("JPEG", f"{len(jpeg.sampling)} components", "save it in grey, RGB or CMYK")


def _bytes_per_pixel(jpeg: Jpeg) -> int:
    """The result and its turned copy, or the second decoding that finds a cut file."""
    components = len(jpeg.sampling)
    coefficients = 2 * components if jpeg.progressive else 0
    return (11 if components == 4 else 7) + coefficients
