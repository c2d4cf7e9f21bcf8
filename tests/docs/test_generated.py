"""Pages and pictures that programs make are the ones that the code makes today."""

import pytest

from sluice.prediction import TRANSITIONS
from tests.support.paths import ROOT
from tools.site.api_reference import document, reference
from tools.site.diagrams import FOLDER, LABELS, PICTURES


def test_the_reference_of_calls_is_current() -> None:
    """If not: `python -m tools.site.api_reference > docs/reference/api.md`."""
    schema = document()
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert page == reference(schema)
    for path, methods in schema["paths"].items():
        for method in methods:
            assert f"### {method.upper()} {path}\n" in page


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_current(name: str) -> None:
    """If not: `python -m tools.site.diagrams`."""
    assert (FOLDER / f"{name}.svg").read_text() == PICTURES[name]().svg()


def test_the_picture_of_a_predictions_life_has_every_transition() -> None:
    pairs = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert set(LABELS) == pairs
    assert len(PICTURES["life"]().arrows) == len(pairs)
