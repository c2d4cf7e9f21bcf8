"""The reference of error codes names every code, with the status that the api answers."""

from pathlib import Path

import pytest

from api.errors import STATUSES
from sluice.errors import LeaseLost, LocalStackError, RepositoryError, SluiceError
from sluice.ledger.answers import TOO_LATE, WORKER_LOST

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"


def _rows() -> dict[str, list[str]]:
    """The tables' rows by code, each with its other cells."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            codes, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            for code in codes.split(","):
                rows[code.strip(" `")] = cells
    return rows


@pytest.mark.parametrize("kind", sorted(STATUSES, key=lambda kind: kind.code))
def test_every_code_is_listed_with_its_status(kind: type[SluiceError]) -> None:
    cells = _rows()[kind.code]
    if kind in (LeaseLost, LocalStackError, RepositoryError):  # no client of the api meets these
        assert cells[-1].startswith(f"{STATUSES[kind].value} ")
    else:
        assert cells[0] == str(STATUSES[kind].value)


def test_a_code_is_below_the_heading_that_says_whether_to_try_again() -> None:
    _, later = PAGE.read_text().split("## The same request may succeed later")
    later = later.split("\n## ")[0]
    listed = {kind for kind in STATUSES if f"| `{kind.code}` |" in later}
    assert listed == {kind for kind in STATUSES if kind.retryable}


def test_the_codes_of_predictions_that_no_error_has_are_listed() -> None:
    assert {WORKER_LOST.code, TOO_LATE.code} <= _rows().keys()
