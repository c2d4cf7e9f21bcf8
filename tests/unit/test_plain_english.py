"""The rule for sentences, on planted texts."""

from pathlib import Path

import pytest

from tests.support import plain_english
from tests.support.plain_english import ROOT, breaches, sentences, tracked

LONG = " ".join(["word"] * 21) + "."

BAD_SENTENCES = {
    "It waits for the lock.": "begins with 'It'",
    "The lock is free. This wakes a thread.": "begins with 'This'",
    "Note: Which thread wakes is random.": "begins with 'Which'",
    "It's a lock.": "begins with 'It'",
    "**What is counted.** Calls.": "begins with 'What'",
    "The keeper starts anew.": "says 'anew'",
    "Sweeps stop while Redis is away.": "says 'is away'",
    LONG: "has 21 words",
    f"Short. {LONG} Short.": "has 21 words",
}

GOOD_SENTENCES = [
    "word " * 20,
    "US regions have buckets of their own.",
    '"It works" is what the page of a fresh server says.',
    "`it` is a name, `this` too.",
    "The release of 2026-11-28 holds "
    + ", ".join(f"`name_{number}`" for number in range(30))
    + ".",
    f"One idea: {'word ' * 20}",
    f"{'word ' * 15}. redis-py begins a second sentence, although its name is in lower case.",
    "See [the decision](docs/decisions/0001-a-very-long-name.md) and https://example.org/It.",
    "Bytes never travel through the queue, e.g. an image does not.",
    f"- {'word ' * 15}\n- {'word ' * 15}",
    f"{'word ' * 15}\n\n{'word ' * 15}",
]


def file(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", BAD_SENTENCES)
@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("page.md", "{}\n"),
        ("page.md", "# Title\n\n> {}\n"),
        ("page.md", "1. one\n2. {}\n"),
        ("docstring.py", '"""{}"""\n'),
        ("function.py", 'def f():\n    """{}"""\n'),
        ("field.py", 'class A:\n    size: int\n    """{}"""\n'),
        ("comment.py", "x = 1\n# {}\n"),
        ("behind.py", "x = 1  # {}\n"),
        ("argument.py", 'f(description="{}")\n'),
        ("formatted.py", 'f(help=f"{{x}}. {}")\n'),
        ("joined.py", 'f(help="The. " "{}")\n'),
        ("dictionary.py", 'f(responses={{404: {{"description": "{}"}}}})\n'),
    ],
)
def test_a_sentence_that_breaks_the_rule_is_found_in_every_kind_of_text(
    tmp_path: Path, name: str, template: str, text: str
) -> None:
    broken = breaches(file(tmp_path, name, template.format(text)))
    assert [breach.reason for breach in broken] == [BAD_SENTENCES[text]]


@pytest.mark.parametrize("text", GOOD_SENTENCES)
@pytest.mark.parametrize(
    ("name", "template"), [("page.md", "{}\n"), ("docstring.py", "'''\n{}\n'''\n")]
)
def test_a_good_sentence_is_not_found(tmp_path: Path, name: str, template: str, text: str) -> None:
    assert breaches(file(tmp_path, name, template.format(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        f"# {LONG}\n",
        f"```\n{LONG}\n```\n",
        f"- item\n\n  ```\n  {LONG}\n  ```\n",
        f"Text.\n\n    {LONG}\n",
        f"| It | {LONG} |\n",
        f"<img alt='{LONG}'>\n",
    ],
)
def test_headings_code_tables_and_html_of_markdown_are_left_out(tmp_path: Path, text: str) -> None:
    assert breaches(file(tmp_path, "page.md", text)) == []


@pytest.mark.parametrize(
    "text",
    [
        f'"""A diagram:\n\n    {LONG}\n\nText.\n"""\n',
        f'"""A diagram:\n\n    {LONG}\n"""\n',
        f'def f():\n    """A diagram:\n\n        {LONG}\n    """\n',
        f'x = "{LONG}"\n',
        f'f(name="{LONG}")\n',
        f"x = 1  # noqa: E501 {LONG}\n",
        f"x = 1  # type: ignore[arg-type] {LONG}\n",
        f"#!/usr/bin/env {LONG}\n",
        f"# {'word ' * 15}\nx = 1\n# {'word ' * 15}\n",
    ],
)
def test_code_and_pragmas_of_python_are_left_out(tmp_path: Path, text: str) -> None:
    assert breaches(file(tmp_path, "code.py", text)) == []


def test_a_breach_names_the_line_of_its_paragraph(tmp_path: Path) -> None:
    page = file(tmp_path, "page.md", "# Title\n\nFine.\n\nLong\nenough. It breaks the rule.\n")
    code = file(tmp_path, "code.py", "x = 1\n\n# Fine.\n# It breaks the rule.\n")
    assert [breach.line for breach in breaches(page)] == [5]
    assert [breach.line for breach in breaches(code)] == [3]


def test_markup_is_no_part_of_a_sentence() -> None:
    text = "See [the page](a.md): `a`, `b` and `c`\nare names. Redis, e.g. 7.2, serves."
    assert list(sentences(text)) == ["See the page:", "X are names.", "Redis, e.g. 7.2, serves."]


def test_the_program_prints_each_breach_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(file(tmp_path, "good.md", "Fine.\n"))
    bad = str(file(tmp_path, "bad.md", "It breaks the rule.\n"))
    assert plain_english.main([good]) == 0
    assert capsys.readouterr().out == "0 sentences break the rule\n"
    assert plain_english.main([good, bad]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"{bad}:1: begins with 'It': It breaks the rule.\n1 sentences")


def test_every_sentence_of_the_repository_keeps_the_rule() -> None:
    broken = [
        f"{breach.path.relative_to(ROOT)}:{breach.line}: {breach.reason}: {breach.sentence}"
        for path in tracked()
        for breach in breaches(path)
    ]
    assert not broken, "\n".join(broken)
