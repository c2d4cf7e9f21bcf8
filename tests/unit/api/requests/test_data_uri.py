"""`data:` URIs are read as browsers read them."""

import base64
from urllib.parse import quote, quote_from_bytes

import pytest

from api.requests.data_uri import decode_data_uri
from api.requests.items import read_image
from sluice.errors import InvalidInput

IMAGE = b"\xff\xd8\xff\xe0" + bytes(range(256)) + b"\xfb\xff>?"  # has + and / in base64
HEAD = "data:image/jpeg;base64,"
PLAIN = base64.b64encode(IMAGE).decode()
SAFE = base64.urlsafe_b64encode(IMAGE).decode()
LINES = base64.encodebytes(IMAGE).decode()


@pytest.mark.parametrize(
    "uri",
    [
        HEAD + PLAIN,
        HEAD + PLAIN.rstrip("="),
        HEAD + PLAIN + "==",
        HEAD + LINES,
        HEAD + LINES.replace("\n", "\r\n"),
        HEAD + PLAIN.replace("A", "A\t"),
        HEAD + " " + PLAIN,
        HEAD + PLAIN + "\r\n",
        HEAD + quote(PLAIN, safe=""),
        HEAD + quote(LINES, safe=""),
        HEAD + PLAIN.replace("=", "%3d"),
        HEAD + SAFE,
        HEAD + SAFE.rstrip("="),
        HEAD + PLAIN + "#picture",
        " \n" + HEAD + PLAIN + " ",
        "\ufeff" + HEAD + PLAIN,
        "DATA:image/jpeg;BASE64," + PLAIN,
        "data:;base64," + PLAIN,
        "data:image/jpeg;charset=utf-8; base64 ," + PLAIN,
        "data:image/jpeg;\nbase64," + PLAIN,
        "data:image/jpeg," + quote_from_bytes(IMAGE, safe=""),
    ],
)
def test_a_uri_gives_the_bytes_that_a_browser_reads(uri: str) -> None:
    assert read_image(uri) == IMAGE


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (HEAD + PLAIN[:5], "a character is missing"),
        (HEAD + "AA!A", "character '!'"),
        (HEAD + "AA=A", "character '='"),
        (HEAD + "é", "not valid base64"),
        ("data:image/jpeg," + PLAIN, "in base64"),
        ("data:image/jpeg;base64", "in base64"),
        ("data:image/jpegbase64," + PLAIN, "in base64"),
        ("data:text/plain,hello", "in base64"),
    ],
)
def test_a_refusal_says_what_is_wrong(uri: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_image(uri)


def test_only_white_space_is_no_image_and_more_escapes_than_needed_are_refused() -> None:
    for text in ("", " ", "\n" * 3000, "\ufeff"):
        with pytest.raises(InvalidInput, match="give a data URI"):
            read_image(text)
    assert read_image(HEAD + PLAIN + " " * 3000) == IMAGE
    with pytest.raises(InvalidInput, match="percent-encoded"):
        read_image(HEAD + "!" + "%" * 2_000_001)


@pytest.mark.parametrize("shift", range(4))
def test_escapes_on_the_edge_of_a_piece_stay_whole(shift: int) -> None:
    data = b"\xff\xd8\xff" + bytes(700_000)
    text = base64.b64encode(data).decode()
    uri = HEAD + "\t" * shift + text.replace("A", "%41")
    assert decode_data_uri(uri) == data


def test_white_space_around_a_url_is_stripped_and_within_stays() -> None:
    assert read_image(" \thttps://example.com/a b.jpg \r\n") == "https://example.com/a b.jpg"
