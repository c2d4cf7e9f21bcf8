"""Each promise of the page about security has the test that it names."""

import re

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 12
    missing = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert missing == []


def test_every_setting_that_the_page_names_is_there() -> None:
    settings = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert [
        name for name in re.findall(r"`(SLUICE_\w+)", PAGE) if f"`{name}`" not in settings
    ] == []
