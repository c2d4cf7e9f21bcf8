"""Text is drawn in its own script, or in Latin letters; never as boxes or question marks."""

import numpy as np
import pytest
from PIL import features

from worker import lettering

NAMES = {
    "Thai": "แมว",
    "Hindi": "बिल्ली",
    "Arabic": "قطة",
    "Hebrew": "חתול",
    "Greek": "γάτα",
    "Russian": "кошка",
    "Georgian": "კატა",
    "Vietnamese": "Chó mèo",
    "Chinese": "猫狗",
    "Japanese": "ねこ",
    "Korean": "고양이",
    "Tamil": "பூனை",
    "Ethiopic": "ድመት",
    "emoji": "🐱🚗",
    "joined emoji": "👩\u200d🚒",
}
PACKAGED = ("Thai", "Hindi", "Arabic", "Hebrew", "Greek", "Russian", "Georgian", "Vietnamese")
SHAPED = ("Thai", "Hindi", "Arabic", "Hebrew")


def _written(text: str) -> str:
    return "".join(piece for _, piece in lettering.runs(text))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_script_is_written_with_glyphs_that_its_font_has(name: str) -> None:
    runs = lettering.runs(name)
    assert runs
    assert all(lettering.has(number, character) for number, piece in runs for character in piece)
    assert "?" not in _written(name)
    coverage = lettering.draw(name, 20)
    assert coverage.shape[0] == lettering.line_height(20)
    assert coverage.max() > 200


@pytest.mark.parametrize("script", PACKAGED)
def test_the_scripts_of_the_packaged_font_are_written_as_they_are(script: str) -> None:
    if script in SHAPED and not features.check_feature("fribidi"):
        pytest.skip("Pillow finds no FriBiDi on this system")
    assert lettering.runs(NAMES[script]) == ((0, NAMES[script]),)


def test_a_word_without_a_font_is_written_in_latin_letters_alone() -> None:
    """Nobody has a font for the private use area, nor for Linear A."""
    assert _written("\U00010600 cat") == "cat" or _written("\U00010600 cat").endswith(" cat")
    assert _written("\ue000") == ""
    assert lettering.draw("\ue000", 20).shape == (26, 0)


def test_missing_characters_are_found() -> None:
    assert lettering.has(0, "a")
    assert lettering.has(0, " ")
    assert not lettering.has(0, "猫")
    assert not lettering.has(0, "\ue000")


def test_control_characters_and_variation_selectors_are_not_drawn() -> None:
    assert _written("a\nb\tc\u200b\ufe0f\x07") == "a b c"


@pytest.mark.skipif(not features.check_feature("fribidi"), reason="Pillow finds no FriBiDi")
def test_arabic_letters_are_joined() -> None:
    joined = lettering.draw("قطة", 40).shape[1]
    apart = sum(lettering.draw(letter, 40).shape[1] for letter in "قطة")
    assert joined < apart


def test_larger_letters_are_larger() -> None:
    small, large = (np.asarray(lettering.draw("person", size)) for size in (10, 40))
    assert large.shape[1] == pytest.approx(4 * small.shape[1], rel=0.2)
