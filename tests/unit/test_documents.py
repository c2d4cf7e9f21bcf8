"""Documents name files that exist: in links, and in code spans that look like a path."""

import re
from pathlib import Path

import pytest

from tests.support.plain_english import ROOT, breaches, tracked

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
TOP = "sluice|api|worker|tests|docs|k8s|compose|tools|benchmarks|samples|constraints"

_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?:{TOP})/[\w./-]*")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def paths(text: str) -> list[str]:
    """The paths that a document's code spans name; code blocks and web addresses are left out."""
    words = [word for span in _SPAN.findall(_without_blocks(text)) for word in span.split()]
    return [word for word in words if _PATH.fullmatch(word)]


def links(text: str) -> list[str]:
    """The relative links of a document."""
    return [link for link in _LINK.findall(_without_blocks(text)) if "://" not in link]


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", re.sub(r"^ {4}.*$", "", text, flags=re.M), flags=re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_and_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    lost = [path for path in paths(text) if not (ROOT / path).exists()]
    lost += [link for link in links(text) if not (document.parent / link).exists()]
    assert not lost


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_breaks_the_rule(document: Path) -> None:
    assert not [(breach.reason, breach.sentence) for breach in breaches(document)]


def test_the_pages_that_code_names_exist() -> None:
    named = {
        page
        for path in tracked()
        if path.suffix == ".py" and path.exists() and "tests" not in path.relative_to(ROOT).parts
        for page in re.findall(r"\b(?:docs|k8s|tools)/[\w/.-]+\.md\b", path.read_text())
    }
    assert named
    assert not [page for page in named if not (ROOT / page).exists()]


def test_a_lost_path_and_a_lost_link_would_be_seen() -> None:
    text = (
        "See `sluice/gone.py`, [a page](gone.md#part) and `pytest tests/gone`.\n\n    `api/no.py`\n"
    )
    assert paths(text) == ["sluice/gone.py", "tests/gone"]
    assert links(text) == ["gone.md"]


def test_every_decision_is_in_the_index_by_its_title() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    titles = {page.name: page.read_text().splitlines()[0].removeprefix("# ") for page in pages}
    assert not [name for name, title in titles.items() if f"- [{title}]({name})\n" not in index]


@pytest.mark.parametrize("heading", ["Status", "Context", "Choice", "Instead of", "Price"])
def test_every_decision_has_its_parts(heading: str) -> None:
    pages = (ROOT / "docs" / "decisions").glob("0*.md")
    assert not [page.name for page in pages if f"\n## {heading}\n" not in page.read_text()]
