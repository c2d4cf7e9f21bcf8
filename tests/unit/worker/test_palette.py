"""The colours of classes can be told apart, and text on them can be read."""

from itertools import combinations

import numpy as np
import pytest

from worker.palette import BLACK, COLOURS, WHITE, Colour, colour_of, contrast, text_on

# Machado et al. 2009, severity 1: linear RGB without red, and without green cones.
VIEWS = (
    np.eye(3),
    np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
)
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _lab(colour: Colour, view: np.ndarray) -> np.ndarray:
    part = np.array(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(view @ linear, 0, 1) / (0.9505, 1, 1.089))
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def _distance(one: Colour, other: Colour) -> float:
    return min(float(np.linalg.norm(_lab(one, view) - _lab(other, view))) for view in VIEWS)


def test_no_two_colours_are_nearer_than_those_of_okabe_and_ito() -> None:
    bound = min(_distance(*pair) for pair in combinations(COLOURS[:7], 2))
    assert min(_distance(*pair) for pair in combinations(COLOURS, 2)) >= bound > 10


def test_a_class_always_has_the_same_colour_and_its_neighbours_have_others() -> None:
    assert len({colour_of(class_id) for class_id in range(20)}) == 20
    assert colour_of(1003) == colour_of(3)


@pytest.mark.parametrize("colour", COLOURS)
def test_text_has_contrast_on_every_colour(colour: Colour) -> None:
    assert contrast(text_on(colour), colour) >= 4.5


def test_the_contrast_of_black_and_white_is_21() -> None:
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == pytest.approx(21)
