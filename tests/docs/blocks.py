"""The code blocks of documents: their language, their file's name, and the marks above them.

A mark is a comment on the line above a block, which no reader sees:

    <!-- block: needs=docker -->          not run here: it needs Docker, a cluster, a GPU, …
    <!-- block: run-by=tests/x.py -->     not run here: that test runs the same commands
    <!-- block: parsed -->                not run: the commands' own parsers check the options
    <!-- block: background -->            goes on running until the end of the page
    <!-- block: prints=qr_code -->        its output must have this (a regular expression)
    <!-- block: exit=1 -->                its exit status, or several: 0|22

Several marks are separated by `;`. A block without a mark is run, and must succeed. The blocks of a
page are run in order, and the variables that one exports are there for the next.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

NEEDS = ("cluster", "docker", "gpu", "network", "dotnet", "bucket")
MARKS = ("needs", "run-by", "parsed", "background", "prints", "exit")

_FENCE = re.compile(r'^(?P<indent> *)```(?P<language>[\w-]*)(?: title="(?P<title>[^"]+)")?\s*$')
_MARK = re.compile(r"^<!-- block: (.*) -->$")


@dataclass(frozen=True)
class Block:
    """One block of code."""

    page: str
    """The document, as a path in the repository."""
    line: int
    """The line of its fence, from 1."""
    language: str
    """Empty for a block that is only indented."""
    text: str
    title: str | None
    """The name of the file that the reader makes of the block."""
    marks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def left_out(self) -> str | None:
        """The reason why the block is not run here."""
        if "needs" in self.marks:
            return f"needs {self.marks['needs']}"
        return f"run by {self.marks['run-by']}" if "run-by" in self.marks else None


def documents() -> list[Path]:
    """The documents whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: Path) -> list[Block]:
    """The blocks of a document, in order."""
    return list(_blocks(path.relative_to(ROOT).as_posix(), path.read_text().split("\n")))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence:
            end = lines.index(fence["indent"] + "```", number + 1)
            text = [line.removeprefix(fence["indent"]) for line in lines[number + 1 : end]]
            marks = _marks(lines[number - 1].strip())
            yield Block(
                page, number + 1, fence["language"], "\n".join(text) + "\n", fence["title"], marks
            )
            number = end
        elif lines[number].startswith("    ") and not lines[number - 1].strip():
            yield Block(page, number + 1, "", lines[number], None, {})
        number += 1


def _marks(line: str) -> dict[str, str]:
    match = _MARK.match(line)
    if not match:
        return {}
    pairs = [part.strip().partition("=") for part in match[1].split(";")]
    return {name: value for name, _, value in pairs}


def faults(blocks: list[Block]) -> list[str]:
    """The mistakes in the marks of a document's blocks."""
    found = []
    for block in blocks:
        if not block.language:
            found.append(f"{block.place}: give the block a fence, and a language")
        found += [
            f"{block.place}: no mark is named {name!r}" for name in block.marks if name not in MARKS
        ]
        if block.marks.get("needs", "docker") not in NEEDS:
            found.append(f"{block.place}: `needs` is one of {', '.join(NEEDS)}")
        if not (ROOT / block.marks.get("run-by", "")).exists():
            found.append(f"{block.place}: there is no {block.marks['run-by']}")
        if block.title and not any(block.title in other.text for other in blocks if other != block):
            found.append(f"{block.place}: no block uses {block.title}")
    return found
