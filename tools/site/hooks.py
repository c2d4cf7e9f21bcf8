"""Hooks of MkDocs: documents that live outside `docs/` are pages of the site, too.

Links in documents are relative to the repository, so that they work in its view. The site has
other places for some documents, and these hooks rewrite the links to them. A link to a file that
is no page keeps its text only.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
#: Documents outside `docs/`, as patterns from the top of the repository.
OUTSIDE = ("*.md", "*/*.md", "k8s/**/*.md")
#: Folders with no documents of the site's own; `docs/` is read by MkDocs itself.
_LEFT_OUT = (".", "build/", "docs/", "tests/")
#: The folder of the site for documents at the top of the repository.
TOP = "project"

_LINK = re.compile(r"(?P<code>`[^`\n]*`)|\[(?P<text>[^\]\[]*)\]\((?P<target>[^)\s]+)\)")


def place(path: str) -> str:
    """The source path in the site of a document, from its path in the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if "/" in path else f"{TOP}/{path}"


def outside() -> list[str]:
    """The documents outside `docs/`, as paths in the repository."""
    found = {path for pattern in OUTSIDE for path in ROOT.glob(pattern)}
    names = sorted(path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if not name.startswith(_LEFT_OUT)]


def relink(markdown: str, path: str, pages: set[str]) -> str:
    """A document's text with the links of the site.

    `path` is the document's path in the repository, and `pages` are the source paths in the site.
    """
    folder = posixpath.dirname(path)
    here = posixpath.dirname(place(path))

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if match["code"] or "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        name, _, anchor = target.partition("#")
        there = place(posixpath.normpath(posixpath.join(folder, name)))
        if there not in pages:
            return match["text"]
        link = posixpath.relpath(there, here or ".") + (f"#{anchor}" if anchor else "")
        return f"[{match['text']}]({link})"

    lines = markdown.split("\n")
    fenced = False
    for number, line in enumerate(lines):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        if not fenced and not fence:
            lines[number] = _LINK.sub(replace, line)
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the documents outside `docs/`."""
    for path in outside():
        files.append(File.generated(config, place(path), abs_src_path=os.fspath(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    source = Path(page.file.abs_src_path).resolve()
    pages = {file.src_uri for file in files}
    return relink(markdown, source.relative_to(ROOT).as_posix(), pages)
