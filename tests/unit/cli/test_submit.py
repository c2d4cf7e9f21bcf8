"""The options of `sluice submit` that are no parameter by themselves."""

from typing import Any

import pytest
from typer.testing import CliRunner

from sluice.cli.app import app
from sluice.cli.submit import slicing
from sluice.prediction import Parameters
from sluice.slicing import Slicing


@pytest.mark.parametrize(
    ("on", "tile", "overlap", "read"),
    [
        (False, None, None, None),
        (True, None, None, Slicing()),
        (False, 640, None, Slicing(size=(640, 640))),
        (True, None, 0.0, Slicing(overlap=0)),
        (False, 640, 0.3, Slicing(size=(640, 640), overlap=0.3)),
    ],
)
def test_a_tile_or_an_overlap_means_slices(
    on: bool, tile: int | None, overlap: float | None, read: Slicing | None
) -> None:
    given: Any = slicing(on, tile, overlap)
    assert given is None or given
    assert Parameters.model_validate({"slice": given}).slice == read


@pytest.mark.parametrize("wrong", [("--tile", "16"), ("--tile", "big"), ("--overlap", "0.9")])
def test_a_wrong_tile_is_refused_before_any_image_is_read(wrong: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["submit", "missing.jpg", *wrong])
    assert done.exit_code == 2
    assert wrong[0] in done.output
