"""Anchors of links lead to headings in the repository's view, too."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.plain_english import tracked

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s:]*)#([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    slugs = Counter(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain)
    return {
        f"{slug}-{number}" if number else slug
        for slug, count in slugs.items()
        for number in range(count)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_lead_to_headings(document: Path) -> None:
    links = _LINK.findall(_FENCED.sub("", document.read_text()))
    lost = [
        f"{name}#{anchor}"
        for name, anchor in links
        if anchor not in anchors((document.parent / name).resolve() if name else document)
    ]
    assert not lost


def test_a_lost_anchor_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Images in `S3`\n\n## A\n\n## A\n\n```\n# no heading\n```\n")
    assert anchors(page) == {"images-in-s3", "a", "a-1"}
