"""The site of the documents: built strictly, whole, and loading nothing from outside."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.site import ORIGIN, Page, broken, foreign, reachable, read
from tests.support.paths import ROOT
from tests.support.plain_english import tracked

pytest.importorskip("mkdocs", reason="MkDocs is not installed: `make check` installs it")
from tools.site.hooks import outside, relink


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return read(site)


def test_no_page_loads_anything_from_elsewhere(pages: dict[str, Page]) -> None:
    assert not foreign(pages)
    assert not [page.url for page in pages.values() if 'class="mermaid"' in page.text]


def test_styles_and_fonts_come_from_the_site(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    named = [
        url
        for sheet in sheets
        for url in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')\s]+)", sheet.read_text())
    ]
    assert not [url for url in named if "//" in url and not url.startswith("data:")]


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    assert not broken(site, pages)


def test_every_page_is_reached_from_the_first_one(pages: dict[str, Page]) -> None:
    lost = set(pages) - reachable(pages, f"{ORIGIN}/") - {f"{ORIGIN}/404.html"}
    assert not lost


def test_the_navigation_has_no_page_twice() -> None:
    named = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert named
    assert len(named) == len(set(named))


def test_every_document_of_the_repository_is_a_page() -> None:
    documents = {path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix == ".md"}
    documents = {path for path in documents if not path.startswith(("docs/", "tests/", "."))}
    assert documents <= set(outside())


def test_what_is_wrong_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<h1 id="top"><a href="lost/">a</a> <a href="#gone">b</a> <a href="#top">c</a>'
        '<script src="https://cdn.example/x.js"></script>'
    )
    (tmp_path / "alone.html").write_text("")
    pages = read(tmp_path)
    assert len(foreign(pages)) == 1
    assert broken(tmp_path, pages) == [f"{ORIGIN}/: {ORIGIN}/lost/", f"{ORIGIN}/: {ORIGIN}/#gone"]
    assert reachable(pages, f"{ORIGIN}/") == {f"{ORIGIN}/"}


def test_links_are_those_of_the_site() -> None:
    pages = {"guide/http.md", "k8s/README.md", "project/README.md"}
    text = (
        "[a](../../k8s/README.md#sizes) [b](http.md) `[c](d)` [e](../../LICENSE)\n"
        "```\n[f](../../README.md)\n```\n[g](../../README.md) [h](https://x.example/) [i](#j)"
    )
    assert relink(text, "docs/guide/keys.md", pages) == (
        "[a](../k8s/README.md#sizes) [b](http.md) `[c](d)` e\n"
        "```\n[f](../../README.md)\n```\n[g](../project/README.md) [h](https://x.example/) [i](#j)"
    )
    assert relink("[a](docs/guide/http.md)", "README.md", pages) == "[a](../guide/http.md)"
