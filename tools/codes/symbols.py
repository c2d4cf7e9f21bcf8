"""Codes as bitmaps with one pixel for each module.

QR codes, four kinds of bar code, ArUco and AprilTag markers.
"""

# ruff: noqa: SIM905 - tables of bar patterns are easier to check against the standard as words

from dataclasses import dataclass

import cv2
import numpy as np
import segno
from numpy.typing import NDArray

Rng = np.random.Generator
Image = NDArray[np.uint8]

QR, BARCODE, MARKER = range(3)
"""Indices into `tools.codes.CLASSES`."""

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-. $/+%"

# Code 128 (ISO/IEC 15417), values 0 to 105, then the stop.
# Each entry holds the widths of bar, space, bar, space, bar, space.
CODE_128 = (
    "212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 "
    "112232 122132 122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 "
    "311222 321122 321221 312212 322112 322211 212123 212321 232121 111323 131123 131321 "
    "112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121 "
    "313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 "
    "314111 221411 431111 111224 111422 121124 121421 141122 141221 112214 112412 122114 "
    "122411 142112 142211 241211 221114 413111 241112 134111 111242 121142 121241 114212 "
    "124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 "
    "114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112"
).split()
START_B, START_C, STOP = 104, 105, 106

# EAN-13 (ISO/IEC 15420): the odd-parity left digits.
# The even-parity digits are these, complemented and reversed.
EAN_ODD = "0001101 0011001 0010011 0111101 0100011 0110001 0101111 0111011 0110111 0001011".split()
# The parity of the six left digits, 1 for even, by the first digit.
EAN_PARITY = "000000 001011 001101 001110 010011 011001 011100 010101 010110 011010".split()

# Two wide of five, for the values 1 to 9 and 0.
# Used by Interleaved 2 of 5 (ISO/IEC 16390), and by the bars of Code 39.
TWO_OF_FIVE = dict(
    zip(
        "1234567890",
        "10001 01001 11000 00101 10100 01100 00011 10010 01010 00110".split(),
        strict=True,
    )
)
# Code 39 (ISO/IEC 16388): ten characters share one wide space.
# The bars of the ten are those of the digits 1 to 0.
CODE_39_ROWS = (
    ("1234567890", "0100"),
    ("ABCDEFGHIJ", "0010"),
    ("KLMNOPQRST", "0001"),
    ("UVWXYZ-. *", "1000"),
)


@dataclass(frozen=True)
class Symbol:
    """A code without its quiet zone."""

    kind: int
    """Index into `tools.codes.CLASSES`."""
    modules: Image
    """(rows, columns), 0 for dark and 255 for light; a bar code has one row."""
    quiet: int
    """The width of the standard's quiet zone, in modules."""
    text: str
    """The payload."""


def qr(text: str, error: str = "m", version: int | None = None) -> Symbol:
    """A QR code (ISO/IEC 18004) by segno. A long text raises `version`."""
    code = segno.make_qr(text, error=error)
    if version is not None and version > code.version:
        code = segno.make_qr(text, error=error, version=version)
    bits = np.array([list(row) for row in code.matrix], np.uint8)
    return Symbol(QR, (1 - (bits > 0)).astype(np.uint8) * 255, 4, text)


def bars(text: str, widths: str) -> Symbol:
    """A bar code from its element widths in modules. The first element is a bar."""
    row = np.repeat(np.arange(len(widths)) % 2, [int(w) for w in widths])
    return Symbol(BARCODE, (row * 255).astype(np.uint8)[None], 10, text)


def code_128(text: str) -> Symbol:
    """Code 128 with its modulo-103 check.

    Set C for an even number of digits, set B for other printable ASCII.
    """
    if text.isdigit() and len(text) % 2 == 0:
        values = [START_C] + [int(text[i : i + 2]) for i in range(0, len(text), 2)]
    else:
        values = [START_B] + [ord(c) - 32 for c in text]
    check = (values[0] + sum(i * v for i, v in enumerate(values))) % 103
    return bars(text, "".join(CODE_128[v] for v in [*values, check, STOP]))


def ean_13(text: str) -> Symbol:
    """EAN-13 of twelve digits and a check digit, which is added. With a leading 0: UPC-A."""
    odd, even = (sum(int(c) for c in text[i:12:2]) for i in (0, 1))
    text = text[:12] + str(-(odd + 3 * even) % 10)
    left = [
        flip(EAN_ODD[int(c)]) if p == "1" else EAN_ODD[int(c)]
        for c, p in zip(text[1:7], EAN_PARITY[int(text[0])], strict=True)
    ]
    right = [complement(EAN_ODD[int(c)]) for c in text[7:]]
    row = "101" + "".join(left) + "01010" + "".join(right) + "101"
    return Symbol(BARCODE, np.array([[0 if c == "1" else 255 for c in row]], np.uint8), 11, text)


def complement(pattern: str) -> str:
    """Exchange bars and spaces."""
    return "".join("10"[int(c)] for c in pattern)


def flip(pattern: str) -> str:
    """The even-parity form of an odd-parity EAN digit."""
    return complement(pattern)[::-1]


def code_39(text: str, wide: int = 3) -> Symbol:
    """Code 39 of digits, capitals, '-', '.' and space, between asterisks."""
    out = []
    for char in f"*{text}*":
        row, space = next((row, space) for row, space in CODE_39_ROWS if char in row)
        bar = TWO_OF_FIVE["1234567890"[row.index(char)]]
        mixed = "".join(b + s for b, s in zip(bar, space + "0", strict=True))[:9]
        out.append("".join(str(wide) if c == "1" else "1" for c in mixed) + "1")
    return bars(text, "".join(out)[:-1])


def itf(text: str, wide: int = 3) -> Symbol:
    """Interleaved 2 of 5 of an even number of digits.

    One digit is in the bars, the next in the spaces.
    """
    out = ["1111"]
    for a, b in zip(text[::2], text[1::2], strict=True):
        pair = "".join(x + y for x, y in zip(TWO_OF_FIVE[a], TWO_OF_FIVE[b], strict=True))
        out.append("".join(str(wide) if c == "1" else "1" for c in pair))
    return bars(text, "".join(out) + f"{wide}11")


DICTIONARIES = tuple(
    sorted(
        n
        for n in dir(cv2.aruco)
        if n.startswith("DICT_") and not n.endswith("10") and n == n.upper()
    )
)
"""Names of OpenCV's predefined marker dictionaries (AprilTag 36h10 is unused in practice)."""


def marker(name: str, number: int) -> Symbol:
    """Marker `number` of a predefined ArUco or AprilTag dictionary.

    The black border of one module is included.
    """
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    side = dictionary.markerSize + 2
    return Symbol(
        MARKER, cv2.aruco.generateImageMarker(dictionary, number, side), 1, f"{name}:{number}"
    )


def digits(rng: Rng, count: int) -> str:
    """A random decimal string."""
    return "".join(map(str, rng.integers(0, 10, count)))


def random_symbol(rng: Rng, kind: int) -> Symbol:
    """Any symbol of one class with a random payload."""
    if kind == QR:
        words = "".join(rng.choice(list(ALPHABET), rng.integers(4, 30)))
        text = [
            f"HTTPS://EXAMPLE.ORG/{words}",
            words,
            digits(rng, rng.integers(4, 40)),
            f"https://example.org/{words.lower()}?{digits(rng, 12) * int(rng.integers(1, 9))}",
        ][rng.integers(4)]
        return qr(
            text, error="lmqh"[rng.integers(4)], version=int(rng.choice([1, 2, 3, 4, 5, 6, 8, 10]))
        )
    if kind == BARCODE:
        pick = rng.integers(5)
        if pick == 0:
            return ean_13(digits(rng, 12))
        if pick == 1:
            return ean_13("0" + digits(rng, 11))
        if pick == 2:
            return code_39(
                "".join(
                    rng.choice(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"), rng.integers(3, 11))
                )
            )
        if pick == 3:
            return itf(digits(rng, 2 * rng.integers(3, 9)))
        size = int(rng.integers(4, 20))
        return code_128(
            digits(rng, size) if rng.random() < 0.5 else "".join(rng.choice(list(ALPHABET), size))
        )
    name = str(rng.choice(DICTIONARIES))
    count = len(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name)).bytesList)
    return marker(name, int(rng.integers(count)))
