"""Text in any script, drawn as the coverage of its pixels.

The package pymupdf-fonts has FiraGO, for Latin, Greek, Cyrillic, Arabic, Hebrew, Georgian, Thai and
Devanagari, and Noto's symbols. Other scripts are drawn with a font of the system. A word without a
font is written in Latin letters instead.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from io import BytesIO
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymupdf_fonts
from anyascii import anyascii
from PIL import Image, ImageDraw, ImageFont, features

Coverage = npt.NDArray[np.uint8]

_PACKAGED = ("figo", "symbol1", "symbol2")  # names in pymupdf-fonts
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts")
# Fonts of free licences that many systems have. The order is that of their looks.
_SYSTEM_FONTS = (
    "NotoSans-Regular.*",
    "NotoSans[A-Z]*-Regular.*",
    "DejaVuSans.ttf",
    "DroidSansFallback*.ttf",
    "wqy-*.tt[cf]",
    "unifont*.[ot]tf",
)
_JOINERS = "\u200c\u200d"  # they have no shape of their own, but change that of their neighbours
_NO_CHARACTER = "\U0010fffe"  # has a glyph in no font
_PROBE_PX = 20


def line_height(size: int) -> int:
    """Return the height of a line in pixels, for letters of `size` pixels an em."""
    return ceil(1.3 * size)


def draw(text: str, size: int) -> Coverage:
    """Return how much of each pixel `text` covers, (line_height(size), w), 0 to 255.

    `size` is the em in pixels. The width is 0 where nothing can be written.
    """
    pieces = [(piece, _face(index, size)) for index, piece in runs(text)]
    widths = [ceil(face.getlength(piece)) for piece, face in pieces]
    image = Image.new("L", (sum(widths), line_height(size)))
    pen, x = ImageDraw.Draw(image), 0
    for (piece, face), width in zip(pieces, widths, strict=True):
        pen.text((x, size), piece, 255, face, anchor="ls")
        x += width
    return np.asarray(image, np.uint8).reshape(line_height(size), sum(widths))


@lru_cache(maxsize=4096)
def runs(text: str) -> tuple[tuple[int, str], ...]:
    """Split `text` into pieces, each with the number of the font that has all its characters."""
    text = unicodedata.normalize("NFC", text)
    found: list[tuple[int, str]] = []
    for word in re.split(r"(\s+)", text):
        for number, piece in _word(" " if word.isspace() else word):
            if found and found[-1][0] == number:
                found[-1] = (number, found[-1][1] + piece)
            else:
                found.append((number, piece))
    return tuple(found)


def _word(word: str) -> Iterator[tuple[int, str]]:
    """Yield the pieces of a word: of its own characters, or of Latin letters where one has no font.

    A word is never written in two scripts, since nobody could read that.
    """
    shown = "".join(filter(_visible, word))
    numbers: list[int] = []
    for character in shown:
        number = _font_of(character, numbers[-1] if numbers else 0)
        if number is None:
            yield 0, "".join(filter(_visible, anyascii(shown)))
            return
        numbers.append(number)
    yield from zip(numbers, shown, strict=True)


def _visible(character: str) -> bool:
    """Return whether a character is drawn, or shapes its neighbours."""
    selector = "\ufe00" <= character <= "\ufe0f"
    return character in _JOINERS or not (selector or unicodedata.category(character)[0] == "C")


def _font_of(character: str, before: int) -> int | None:
    """Return the number of the font to draw a character with; `before` if that has it, or None."""
    if character in _JOINERS:
        return before
    if not _shapes() and _needs_shaping(character):
        return None
    if has(before, character):
        return before
    return next((number for number in range(len(_sources())) if has(number, character)), None)


@cache
def _shapes() -> bool:
    """Return whether Pillow can shape scripts. For that it needs FriBiDi from the system."""
    return bool(features.check_feature("raqm") and features.check_feature("fribidi"))


def _needs_shaping(character: str) -> bool:
    """Return whether a character is written from the right, or is a mark on another one."""
    right_to_left = unicodedata.bidirectional(character) in ("R", "AL")
    return right_to_left or unicodedata.category(character)[0] == "M"


@lru_cache(maxsize=8192)
def has(number: int, character: str) -> bool:
    """Return whether the font of a number has a character."""
    probe = _probe(number)
    if probe is None:
        return False
    glyph = probe.getmask(character)
    if not any(glyph.size):
        return character.isspace()
    missing = probe.getmask(_NO_CHARACTER)
    return glyph.size != missing.size or bytes(glyph) != bytes(missing)


@cache
def _sources() -> tuple[str | Path, ...]:
    """Return all fonts, best first: names in pymupdf-fonts, and files of the system."""
    files = [
        path
        for pattern in _SYSTEM_FONTS
        for folder in _FOLDERS
        for path in sorted(Path(folder).rglob(pattern))
    ]
    return (*_PACKAGED, *files)


@cache
def _probe(number: int) -> ImageFont.FreeTypeFont | None:
    """Return a font that looks at no neighbours of a character, or None for a damaged file."""
    try:
        return _open(number, _PROBE_PX, ImageFont.Layout.BASIC)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _face(number: int, size: int) -> ImageFont.FreeTypeFont:
    shaping = ImageFont.Layout.RAQM if _shapes() else ImageFont.Layout.BASIC
    return _open(number, size, shaping)


def _open(number: int, size: int, layout: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    source = _sources()[number]
    file = source if isinstance(source, Path) else BytesIO(pymupdf_fonts.myfont(source))
    return ImageFont.truetype(file, size, layout_engine=layout)
