"""Rendered symbols are read back by independent decoders."""

import cv2
import numpy as np
import pytest

pytest.importorskip(
    "segno",
    reason="segno draws the QR codes; it is in tools/requirements.in, not in the service's own",
)

from tools.codes import symbols


def picture(symbol: symbols.Symbol, pixels: int = 4, rows: int = 60, edge: int = 30) -> np.ndarray:
    """The symbol upright with its quiet zone: (h, w, 3) uint8.

    A bar code gets `rows` modules of height.
    """
    modules = symbol.modules if len(symbol.modules) > 1 else np.repeat(symbol.modules, rows, 0)
    image = cv2.copyMakeBorder(modules, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=255)
    image = cv2.resize(image, None, fx=pixels, fy=pixels, interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("text", ["HELLO 123", "https://example.org/a?b=1", "0123456789012345"])
def test_a_qr_code_is_read(text: str) -> None:
    assert cv2.QRCodeDetector().detectAndDecode(picture(symbols.qr(text)))[0] == text


@pytest.mark.parametrize("text", ["401234567890", "501234567890", "978020137962"])
def test_an_ean_13_is_read(text: str) -> None:
    symbol = symbols.ean_13(text)
    assert symbol.modules.shape == (1, 95)
    read = cv2.barcode.BarcodeDetector().detectAndDecode(picture(symbol, 2))[0]
    assert read == symbol.text


def test_ean_13_adds_its_check_digit() -> None:
    assert symbols.ean_13("400638133393").text == "4006381333931"


@pytest.mark.parametrize("name", symbols.DICTIONARIES)
def test_a_marker_is_read(name: str) -> None:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    ids = cv2.aruco.ArucoDetector(dictionary).detectMarkers(
        picture(symbols.marker(name, 5), 12, edge=4)
    )[1]
    assert ids is not None
    assert ids.ravel().tolist() == [5]


def test_the_code_128_table_obeys_its_rules() -> None:
    """Each pattern is 11 modules wide, its bars add up to an even number, and none occurs twice."""
    patterns = symbols.CODE_128[:-1]
    assert len(set(patterns)) == 106
    for pattern in patterns:
        widths = [int(c) for c in pattern]
        assert sum(widths) == 11
        assert sum(widths[::2]) % 2 == 0


def test_code_128_of_a_known_word() -> None:
    """Start B, 'A' = 33, check (104 + 33) mod 103 = 34, stop."""
    row = symbols.code_128("A").modules[0] == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
    widths = "".join(map(str, np.diff(edges)))
    assert widths == "211214" + "111323" + "131123" + "2331112"


def test_the_widths_of_code_39_and_itf() -> None:
    """Code 39 has 16 modules for each character and gap; ITF has 9 for each digit, and two ends."""
    assert symbols.code_39("A1").modules.shape[1] == 4 * 16 - 1
    assert symbols.itf("1234").modules.shape[1] == 4 + 4 * 9 + 5


def test_random_symbols_repeat_with_the_seed() -> None:
    for kind in range(3):
        first, second = (symbols.random_symbol(np.random.default_rng(3), kind) for _ in range(2))
        assert first.kind == kind
        assert first.text == second.text
        assert np.array_equal(first.modules, second.modules)
