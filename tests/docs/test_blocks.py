"""Every block of the README and the documents is run, or says what it needs."""

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import Block, documents, faults, read
from tests.docs.output import pattern, session
from tests.docs.running import CHECKS, PROGRAMS, Missing, Reader
from tests.support.live import Live
from tests.support.paths import ROOT

PAGES = {path.relative_to(ROOT).as_posix(): read(path) for path in documents()}
RUN = {page: blocks for page, blocks in PAGES.items() if any(not b.left_out for b in blocks)}


@pytest.mark.integration
@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_work(
    page: str,
    documented: Live,
    samples: Path,
    tools: Path,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(samples, folder)
    reader = Reader(documented, folder, tools)
    try:
        for block in RUN[page]:
            with subtests.test(msg=block.place):
                if not block.left_out:
                    _follow(reader, block)
    finally:
        reader.end()


def _follow(reader: Reader, block: Block) -> None:
    try:
        reader.follow(block)
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_and_true_marks(page: str) -> None:
    known = {*PROGRAMS, *CHECKS, "console"}
    assert not faults(PAGES[page])
    assert not [block.place for block in PAGES[page] if block.language not in known]


def test_marks_and_titles_are_read(tmp_path: Path) -> None:
    page = ROOT / "docs" / "README.md"
    blocks = read(page)
    assert {block.language for block in blocks} == {"sh"}
    assert all(block.text.endswith("\n") for block in blocks)


def test_shown_output_is_compared_loosely() -> None:
    shown = '{"id":"nzh7yusegsex52xinplqejkzbf", …, "x":948.46,\n  "class":"qr_code"}'
    printed = '{"id":"aaaaaaaaaaaaaaaaaaaaaaaaaa","status":"b","x":-1,"class":"qr_code"}'
    assert pattern(shown).match(printed)
    assert not pattern(shown).match(printed.replace("qr_code", "barcode"))
    assert session("$ a\nb\nc\n$ d\n") == [("a", "b\nc\n"), ("d", "")]
