"""Find JPEGs and GIFs that were cut and closed with an end mark.

Decoders fill the missing part with grey or a colour, and say nothing. A second decoding tells, with
other bytes before the end mark: whole data have ended there, and cut data take them for pixels.
"""

from io import BytesIO

from PIL import Image

from sluice.images.jpeg import Jpeg, restarts, scans
from worker.on_white import Pixels

_GREY = 128
_ROWS = 256
_SMALL_BYTES = 30_000
# No byte is 255, which would begin a marker.
_OTHER_BYTES = bytes((37 * number + 90) % 251 for number in range(64))


def is_cut_jpeg(data: bytes, jpeg: Jpeg, pixels: Pixels) -> bool:
    """Return whether `data` lacks a part of its last scan, or a component's scan.

    `pixels` is its picture, (height, width, 3). An ordinary whole JPEG costs no second decoding.
    """
    if jpeg.frame in (0xC0, 0xC1) and len(jpeg.sampling) != 4:
        large = pixels.size > _SMALL_BYTES  # a small one may be cut within its only blocks
        all_scans_in_one = len(jpeg.sampling) == data[jpeg.scan_at + 4]
        if all_scans_in_one and large and (pixels[-1, -1] != _GREY).any():
            return False
    found = list(scans(data, jpeg.scan_at))
    if _misses_scans(data, jpeg, [start for start, _ in found]):
        return True
    start, end = found[-1]
    content = data[start:end]
    marks = sum(content.count(bytes([0xFF, mark])) for mark in range(0xD0, 0xD8))
    if marks < restarts(jpeg, data[start + 4]):
        return True
    longer = _digests(data[:end] + _OTHER_BYTES + data[end:])
    # OpenCV's picture mostly spares a decoding. Only Pillow's own is sure to be equal to the bit.
    own = [hash(pixels[top : top + _ROWS].tobytes()) for top in range(0, len(pixels), _ROWS)]
    return longer != own and longer != _digests(data)


def is_cut_gif(data: bytes, at: int) -> bool:
    """Return whether a GIF's first frame lacks a part. `at` is where its blocks begin."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    more = bytes([len(_OTHER_BYTES)]) + _OTHER_BYTES
    return _digests(data, "GIF") != _digests(data[:at] + more + data[at:], "GIF")


def _misses_scans(data: bytes, jpeg: Jpeg, starts: list[int]) -> bool:
    """Return whether a component has no scan.

    Of a progressive JPEG, each component needs the last bit of its DC, and the first its ACs.
    """
    done: set[int] = set()
    detail: set[int] = set()
    for start in starts:
        count = data[start + 4]
        components = [data[start + 5 + 2 * index] for index in range(count)]
        first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
        if not jpeg.progressive or (first == 0 and bits & 15 == 0):
            done.update(components)
        if components[:1] == [jpeg.first_component]:
            detail.update(range(first, last + 1))
    return len(done) < len(jpeg.sampling) or (jpeg.progressive and len(detail) < 64)


def _digests(data: bytes, name: str = "JPEG") -> list[int]:
    """A number for each band of rows of Pillow's picture. Numbers need no memory, pictures do."""
    image = Image.open(BytesIO(data), formats=(name,))
    mode = "CMYK" if image.mode == "CMYK" else "RGB"
    numbers = []
    for top in range(0, image.height, _ROWS):
        band = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        numbers.append(hash(band.convert(mode).tobytes()))
    return numbers
