"""The snippets of the page."""

import ast

from ui import snippets
from ui.choices import Choices, options

URL = "https://sluice.example.com"
OPTIONS = {"confidence": 0.3, "classes": ["qr_code", "o'clock"], "slice": True}


def test_options_hold_what_was_chosen() -> None:
    chosen = options(Choices("codes", [], 0.25, 0.45, slicing=True, tile=640))
    assert chosen == {
        "confidence": 0.25,
        "iou": 0.45,
        "visualize": True,
        "model": "codes",
        "slice": 640,
    }
    assert options(Choices(None, ["a"], 0.25, 0.45, slicing=False, tile=0))["classes"] == ["a"]


def test_curl_quotes_what_a_shell_would_read() -> None:
    command = snippets.curl(URL, "my desk.jpg", OPTIONS, with_key=True)
    assert "-F 'image=@my desk.jpg'" in command
    assert "-F confidence=0.3" in command
    assert '-H "Authorization: Bearer $SLUICE_KEY"' in command
    assert command.count("-F classes=") + command.count("-F 'classes=") == 2


def test_python_is_a_program() -> None:
    for with_key in (True, False):
        program = snippets.python(URL, "a'b.jpg", OPTIONS, with_key=with_key)
        ast.parse(program)
        assert ("SLUICE_KEY" in program) == with_key


def test_javascript_has_one_line_for_each_field() -> None:
    program = snippets.javascript(URL, 'a"b.jpg', OPTIONS, with_key=True)
    assert 'form.append("confidence", "0.3");' in program
    assert 'form.append("classes", "o\'clock");' in program
    assert "Bearer ${process.env.SLUICE_KEY}" in program


def test_the_address_is_the_one_by_which_the_api_knows_itself() -> None:
    raw = {"urls": {"get": "https://example.com/sluice/v1/predictions/a?ticket=b"}}
    assert snippets.base_url(raw, "http://api:8080") == "https://example.com/sluice"
    assert snippets.base_url({"urls": {}}, "http://api:8080") == "http://api:8080"
