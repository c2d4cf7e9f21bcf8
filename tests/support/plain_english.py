"""The rule for sentences (see CONTRIBUTING.md), held by a program.

    python -m tests.support.plain_english [FILE ...]     prints each sentence that breaks the rule

Docstrings, comments, `description=` and `help=` texts, and Markdown are read. Code spans, code
blocks, tables and headings are left out, or count as one word.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MOST_WORDS = 20
OPENERS = frozenset(
    "it its they their them he she we our us i you your this that these those so "
    "what who whom whose where whether which as whoever whatever".split()
)
DROPPED = re.compile(r"\b(whoever|anew|likewise|heeded|heeds|its kin|is away)\b", re.IGNORECASE)
TEXT_ARGUMENTS = frozenset({"description", "help"})

_CODE = re.compile(r"``?[^`]+``?")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"https?://\S+")
_END = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[\"'(*]*[A-Z0-9X])|(?<=:)\s+")
_WORD = re.compile(r"[^\W_]+(?:[-'’./_][^\W_]+)*")


class Breach(NamedTuple):
    """One sentence that breaks the rule; `line` is where its text begins, from 1."""

    path: Path
    line: int
    why: str
    sentence: str


def sentences(text: str) -> Iterator[str]:
    """The sentences of prose; what follows a colon counts as a sentence of its own."""
    for paragraph in re.split(r"\n\s*\n", text):
        plain = _URL.sub("X", _LINK.sub(r"\1", _CODE.sub("X", paragraph)))
        yield from filter(None, (part.strip() for part in _END.split(" ".join(plain.split()))))


def breaches(path: Path) -> list[Breach]:
    """All breaches of one Python or Markdown file."""
    source = path.read_text()
    texts = _markdown(source) if path.suffix == ".md" else _python(source)
    found = []
    for line, text, checks_length in texts:
        for sentence in sentences(text):
            words = _WORD.findall(sentence)
            if dropped := DROPPED.search(sentence):
                found.append(Breach(path, line, f"says {dropped.group()!r}", sentence))
            elif words and words[0].lower() in OPENERS and sentence[0].isupper():
                found.append(Breach(path, line, f"begins with {words[0]!r}", sentence))
            elif checks_length and len(words) > MOST_WORDS:
                found.append(Breach(path, line, f"has {len(words)} words", sentence))
    return found


def _markdown(source: str) -> Iterator[tuple[int, str, bool]]:
    """Paragraphs and list items; not code, tables or headings."""
    fenced = False
    lines: list[str] = []
    start = 1
    for number, line in enumerate([*source.splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        item = re.match(r"\s*([-*]|\d+\.)\s+", line)
        skipped = fenced or line.startswith(("    ", "#", "|", "```", "<")) and not item
        if skipped or not line.strip() or item:
            if lines:
                yield start, "\n".join(lines), True
            lines = []
        if skipped or not line.strip():
            continue
        if not lines:
            start = number
        lines.append(line[item.end() :] if item else line)


def _python(source: str) -> Iterator[tuple[int, str, bool]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), _prose(text), True
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg in TEXT_ARGUMENTS and isinstance(value, ast.Constant):
                    yield value.lineno, str(value.value), True
    yield from _comments(source)


def _prose(docstring: str) -> str:
    """A docstring without its indented blocks, which are code, tables or diagrams."""
    return "\n".join("" if line.startswith("    ") else line for line in docstring.splitlines())


def _comments(source: str) -> Iterator[tuple[int, str, bool]]:
    """Comments on lines of their own, joined; those behind code are one text each."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(noqa|type:|ruff)|#!", token.string):
            continue
        line, column = token.start
        text = token.string.lstrip("#: ")
        if token.line[:column].strip():
            yield line, re.sub(r"\s*#.*", "", text), True
            continue
        if block and line != last + 1:
            yield start, "\n".join(block), True
            block = []
        if not block:
            start = line
        block.append(text)
        last = line
    if block:
        yield start, "\n".join(block), True


def tracked() -> list[Path]:
    """Every Python and Markdown file of the repository."""
    command = ["git", "ls-files", "*.py", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or tracked()
    found = [breach for path in paths if path.exists() for breach in breaches(path)]
    for path, line, why, sentence in found:
        print(f"{path}:{line}: {why}: {sentence[:160]}")
    print(f"{len(found)} sentences break the rule")
    return min(1, len(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
