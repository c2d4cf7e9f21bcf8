"""The events that the source code logs, as a table for docs/guide/logs.md.

`python -m tests.support.log_events` writes the table into the document.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "guide" / "logs.md"
BEGIN, END = "<!-- events: begin -->\n", "<!-- events: end -->\n"
PACKAGES = ("api", "worker", "ui", "sluice")
_LEVELS = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
    "failure": "ERROR",
}


class Logged(NamedTuple):
    """One call that logs an event."""

    event: str
    level: str
    sentence: str
    fields: tuple[str, ...]
    place: str


def calls() -> Iterator[Logged]:
    """Every call of a log in the packages. Raises ValueError for one without constants."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if _is_log_call(node):
                    yield _read(node, path)


def table() -> str:
    """The events by name, as a table in Markdown."""
    rows: dict[tuple[str, str, str], set[str]] = {}
    for call in calls():
        rows.setdefault((call.event, call.level, call.sentence), set()).update(call.fields)
    lines = ["| event | level | meaning | fields |", "| --- | --- | --- | --- |"]
    for (event, level, sentence), fields in sorted(rows.items()):
        names = ", ".join(f"`{name}`" for name in sorted(fields))
        lines.append(f"| `{event}` | {level} | {sentence} | {names} |")
    return "\n".join(lines) + "\n"


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    )


def _read(node: ast.AST, path: Path) -> Logged:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Attribute)
    place = f"{path.relative_to(ROOT)}:{node.lineno}"
    texts = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
    if len(texts) != 2:
        raise ValueError(f"{place}: give the event and its sentence as constants")
    fields = tuple(word.arg for word in node.keywords if word.arg)
    return Logged(str(texts[0]), _LEVELS[node.func.attr], str(texts[1]), fields, place)


def page() -> str:
    """The document with the table of today."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
