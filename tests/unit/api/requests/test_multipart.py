"""Forms are read as browsers, curl and the libraries of many languages write them."""

import base64
from collections.abc import Sequence
from mmap import mmap

import pytest

from api.requests.multipart import Part, parse_form, text_fields
from sluice.errors import InvalidInput

TYPE = 'multipart/form-data; boundary="b.1"'
FILE = b"\xff\xd8\xff\r\n--b.2\r\n--b.10\r\n\r\n\0"


def form(*parts: tuple[str, bytes], newline: bytes = b"\r\n") -> bytes:
    """A form of parts, each with its headers and its content."""
    lines = [
        newline.join([b"--b.1", *head.encode().splitlines(), b"", data]) for head, data in parts
    ]
    return newline.join([*lines, b"--b.1--", b""])


def disposition(parameters: str, more: str = "") -> str:
    return f"Content-Disposition: form-data; {parameters}{more}"


def read(body: bytes, header: str = TYPE, *, max_parts: int = 10) -> list[Part]:
    return parse_form(body, header, max_parts=max_parts)


FIELDS = [
    (disposition('name="image"; filename="a.jpg"', "\nContent-Type: image/jpeg"), FILE),
    (disposition('name="confidence"'), b"0.5"),
]


@pytest.mark.parametrize(
    "body",
    [
        form(*FIELDS),
        b"\r\n" + form(*FIELDS),
        b"A form.\r\n--b.10\r\n" + form(*FIELDS) + b"the end\r\n--b.1\r\n",
        form(*FIELDS).replace(b"--b.1\r\n", b"--b.1 \t\r\n"),
        form(*FIELDS).removesuffix(b"\r\n"),
        form(*FIELDS, newline=b"\n"),
    ],
    ids=["plain", "empty-line", "preamble-and-epilogue", "padding", "no-last-line-end", "newlines"],
)
def test_text_around_the_parts_and_ends_of_lines_do_not_matter(body: bytes) -> None:
    image, confidence = read(body)
    assert (image.name, image.filename, image.content_type) == ("image", "a.jpg", "image/jpeg")
    assert image.read() == FILE
    assert (confidence.filename, confidence.text()) == (None, "0.5")


def test_a_form_is_read_from_a_mapped_file() -> None:
    with mmap(-1, 6_000_000) as body:
        content = form(*FIELDS)
        body[5_000_000 : 5_000_000 + len(content)] = content
        body[4_999_999:5_000_000] = b"\n"
        assert [part.read() for part in parse_form(body, TYPE, max_parts=2)] == [FILE, b"0.5"]


@pytest.mark.parametrize(
    ("parameters", "name", "filename"),
    [
        ("name=image; filename=a.jpg", "image", "a.jpg"),
        ('NAME="image"; FileName="a;b.jpg"', "image", "a;b.jpg"),
        (r'name="im\"age"; filename="a\\b.jpg"', 'im"age', r"a\b.jpg"),
        (r'name="image"; filename="C:\photos\a.jpg"', "image", r"C:\photos\a.jpg"),
        ("name=\"image\"; filename*=UTF-8''%E5%9B%BE.jpg", "image", "图.jpg"),
        ("name=\"image\"; filename*=ISO-8859-1'de'M%FCll.jpg", "image", "Müll.jpg"),
        ("name=\"image\"; filename=x; filename*=UTF-8''%E5%9B%BE.jpg", "image", "图.jpg"),
        ('name="image"; filename="图.jpg"', "image", "图.jpg"),
        ('name="image"', "image", None),
    ],
)
def test_names_are_read_as_clients_write_them(
    parameters: str, name: str, filename: str | None
) -> None:
    (part,) = read(form((disposition(parameters), FILE)))
    assert (part.name, part.filename) == (name, filename)


def test_an_empty_file_input_is_no_file_and_an_empty_field_stays() -> None:
    parts = read(
        form(
            (disposition('name="image"; filename=""', "\nContent-Type: x/y"), b""),
            (disposition('name="image"; filename="a.jpg"'), b""),
            (disposition('name="model"'), b""),
        )
    )
    assert [(part.name, part.filename, part.is_empty) for part in parts] == [
        ("image", "a.jpg", False),
        ("model", None, True),
    ]


@pytest.mark.parametrize(
    ("head", "is_file"),
    [
        ('name="x"; filename=""', True),
        ('name="x"\nContent-Type: image/jpeg', True),
        ('name="x"\nContent-Type: application/octet-stream', True),
        ('name="x"\nContent-Type: text/plain; charset=utf-8', False),
        ('name="x"', False),
    ],
)
def test_a_type_that_is_no_text_makes_a_file_without_a_name(head: str, is_file: bool) -> None:
    (part,) = read(form((disposition(head), FILE)))
    assert part.is_file is is_file


def test_a_part_in_base64_is_decoded_and_binary_stays() -> None:
    head = disposition('name="x"', "\nContent-Transfer-Encoding: ")
    parts = read(
        form(
            (head + "Base64", base64.encodebytes(FILE)),
            (head + "quoted-printable", b"=C3=A9="),
            (head + "8bit", FILE),
            (head + "base64", b"!"),
        )
    )
    assert [part.read() for part in parts[:3]] == [FILE, "é".encode(), FILE]
    with pytest.raises(InvalidInput, match="x: not valid base64"):
        parts[3].read()


def test_fields_are_text_by_name_and_a_mark_before_them_is_left_out() -> None:
    names = ["classes", "metadata", "classes"]
    values = [b"a", b"\xef\xbb\xbf{}", b"\xff"]
    parts = [
        (disposition(f"name={name}"), value) for name, value in zip(names, values, strict=True)
    ]
    assert text_fields(read(form(*parts))) == {"classes": ["a", "\ufffd"], "metadata": ["{}"]}


@pytest.mark.parametrize("sizes", [[70_000], [40_000, 40_000], [1] * 1101])
def test_fields_have_bounds_together(sizes: Sequence[int]) -> None:
    parts = [(disposition("name=x"), b"x" * size) for size in sizes]
    with pytest.raises(InvalidInput, match="the fields that are no images"):
        text_fields(read(form(*parts), max_parts=2000))


@pytest.mark.parametrize(
    ("body", "header", "words"),
    [
        (b"", TYPE, "never comes"),
        (form(*FIELDS), "multipart/form-data", "no boundary"),
        (form(*FIELDS), "multipart/form-data; boundary=" + "x" * 300, "no boundary"),
        (form(*FIELDS), "multipart/form-data; boundary=c", "never comes"),
        (form(*FIELDS)[:-9], TYPE, "ends before its last boundary"),
        (form(("Content-Type: image/jpeg", FILE)), TYPE, "has no name"),
        (form((disposition("name=x", "\nX: " + "y" * 9000), FILE)), TYPE, "headers do not end"),
        (form(*[FIELDS[1]] * 11), TYPE, "more than 10 parts"),
        (b"x--b.1" * 2000 + form(*FIELDS), TYPE, "occurs in its content"),
    ],
)
def test_a_form_that_can_not_be_read_is_refused_with_the_reason(
    body: bytes, header: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(body, header)
