"""A program that holds the mechanical part of the rule for sentences (see CONTRIBUTING.md).

    python -m tests.support.plain_english [FILE ...]     prints each sentence that breaks the rule

Docstrings, comments, `description` and `help` texts, and Markdown are read. Code blocks, tables and
headings are left out. A code span, or a list of them, counts as one word.
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
MAX_WORDS = 20
OPENERS = re.compile(
    r"it|its|they|their|them|he|she|we|our|us|i|you|your|this|that|these|those|so|what|who|whom"
    r"|whose|where|whether|which|as|whoever|whatever",
    re.IGNORECASE,
)
DROPPED = re.compile(
    r"\b(whoever|anew|likewise|heed(?:s|ed|ing)?|its kin|(?:is|are|was|were) away)\b", re.IGNORECASE
)
TEXT_NAMES = frozenset({"description", "help"})

_CODE = re.compile(r"``?[^`]+``?")
_CODE_LIST = re.compile(r"\bX(?:(?:, (?:and |or )?| and | or )X\b)+")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"https?://\S+")
_ITEM = re.compile(r"\s*([-*]|\d+\.)\s+")
_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)[\"')*]*\s+(?=[\"'(*]*\w)|(?<=:)\s+")
_WORD = re.compile(r"[^\W_]+(?:[-'\u2019./_:][^\W_]+)*")
_PRAGMA = re.compile(r"#\s*(noqa|type:|ruff:|fmt:|mypy:|pragma:)|#!")


class Breach(NamedTuple):
    """One sentence that breaks the rule."""

    path: Path
    line: int
    """The first line of the sentence's paragraph, from 1."""
    reason: str
    sentence: str


def sentences(text: str) -> Iterator[str]:
    """The sentences of prose; words behind a colon are a sentence of their own."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        item = _ITEM.match(line)
        if item or not line.strip():
            paragraphs.append([])
        paragraphs[-1].append(line[item.end() :] if item else line)
    for lines in paragraphs:
        plain = _URL.sub("X", _LINK.sub(r"\1", _CODE.sub("X", " ".join(lines))))
        plain = _CODE_LIST.sub("X", " ".join(plain.split()))
        yield from filter(None, (part.strip() for part in _END.split(plain)))


def breaches(path: Path) -> list[Breach]:
    """All breaches of one Python or Markdown file."""
    source = path.read_text()
    texts = _markdown(source) if path.suffix == ".md" else _python(source)
    return [
        Breach(path, line, reason, sentence)
        for line, text in texts
        for sentence in sentences(text)
        if (reason := _reason(sentence))
    ]


def _reason(sentence: str) -> str | None:
    words = _WORD.findall(sentence)
    if dropped := DROPPED.search(sentence):
        return f"says {dropped.group()!r}"
    quoted = sentence.startswith(("'", '"'))
    opener = re.split(r"['\u2019]", words[0])[0] if words and not quoted else ""
    if opener.istitle() and OPENERS.fullmatch(opener):  # "US" and "IT" are names
        return f"begins with {opener!r}"
    return f"has {len(words)} words" if len(words) > MAX_WORDS else None


def _markdown(source: str) -> Iterator[tuple[int, str]]:
    """Paragraphs and list items, without code, tables and headings."""
    fenced = False
    block: list[str] = []
    for number, line in enumerate([*source.splitlines(), ""], 1):
        text = line.strip()
        fence = text.startswith("```")
        item = _ITEM.match(line)
        code = line.startswith("    ") and not item and not block
        skipped = fenced or fence or code or text.startswith(("#", "|", "<"))
        fenced ^= fence
        if block and (skipped or not text or item):
            yield number - len(block), "\n".join(block)
            block = []
        if text and not skipped:
            block.append(text.removeprefix(">").lstrip())


def _python(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr):
            yield from _prose(node.value)
        elif isinstance(node, ast.keyword) and node.arg in TEXT_NAMES:
            yield from _string(node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in TEXT_NAMES:
                    yield from _string(value)
    yield from _comments(source)


def _string(node: ast.expr) -> Iterator[tuple[int, str]]:
    """A literal's text; a value in an f-string counts as a code span."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
        yield node.lineno, "".join(map(str, parts))


def _prose(node: ast.expr) -> Iterator[tuple[int, str]]:
    """A docstring without its indented blocks, which are code, tables or diagrams."""
    for line, text in _string(node):
        rows = [row.removeprefix(" " * node.col_offset) for row in text.splitlines()]
        yield line, "\n".join("" if row.startswith("    ") else row for row in rows)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments on lines of their own, joined; those behind code are one text each."""
    block: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _PRAGMA.match(token.string):
            continue
        line, column = token.start
        text = token.string.lstrip("#: ")
        if token.line[:column].strip():
            yield line, re.sub(r"\s*# (noqa|type:).*", "", text)
            continue
        if block and line != start + len(block):
            yield start, "\n".join(block)
            block = []
        if not block:
            start = line
        block.append(text)
    if block:
        yield start, "\n".join(block)


def tracked() -> list[Path]:
    """Every Python and Markdown file of the repository."""
    command = ["git", "ls-files", "-z", "*.py", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def main(names: list[str]) -> int:
    paths = [Path(name) for name in names] or tracked()
    found = [breach for path in paths for breach in breaches(path)]
    for path, line, reason, sentence in found:
        sys.stdout.write(f"{path}:{line}: {reason}: {sentence[:160]}\n")
    sys.stdout.write(f"{len(found)} sentences break the rule\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
