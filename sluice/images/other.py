"""Formats that are not read, by their first bytes, and what their owner can do."""

_HEIC = (
    "HEIC, an iPhone's format, is not read here; on the iPhone choose Settings, Camera, Formats,"
    " Most Compatible, or send the photo as a JPEG"
)
_FILM = "a film (MP4 or QuickTime) is not read here; send one of its pictures as a JPEG"
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_STARTS = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"%PDF-", "PDF"),
    (b"8BPS", "Photoshop's PSD"),
    (b"\0\0\x01\0", "ICO"),
    (b"II\xbc", "JPEG XR"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"P1", "PNM"),
    (b"P2", "PNM"),
    (b"P3", "PNM"),
    (b"P4", "PNM"),
    (b"P5", "PNM"),
    (b"P6", "PNM"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "ZIP"),
)


def name_other(data: bytes) -> str:
    """Return a sentence about a known format that is not read, or an empty string."""
    if brands := _brands(data):
        return _HEIC if brands & _HEIC_BRANDS else _FILM
    for start, name in _STARTS:
        if data.startswith(start):
            return f"{name} is not read here; send a JPEG or a PNG"
    head = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--")) and b"<svg" in head):
        return "SVG is not read here; send a JPEG or a PNG"
    if head.startswith((b"<!doctype html", b"<html")):
        return "the bytes are a web page, not an image; send the image itself"
    return ""


def is_avif(data: bytes) -> bool:
    return bool(_brands(data) & _AVIF_BRANDS)


def _brands(data: bytes) -> set[bytes]:
    """The brands in the box `ftyp` (ISO 14496-12, 4.3), which tell what the file holds."""
    if data[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(data[:4], "big"), len(data), 1000)
    return {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
