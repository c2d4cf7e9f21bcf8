"""The transition table and the parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sluice.errors import Conflict
from sluice.prediction import (
    TRANSITIONS,
    Parameters,
    Status,
    Submission,
    check_transition,
    digest,
    isoformat,
)

ENDS = {Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED}


def test_a_terminal_status_never_changes() -> None:
    assert {status for status in Status if status.terminal} == ENDS
    for end in ENDS:
        for status in Status:
            with pytest.raises(Conflict, match=f"{end} can't become {status}"):
                check_transition(end, status)


def test_only_a_processing_prediction_can_succeed() -> None:
    assert [before for before in Status if Status.SUCCEEDED in TRANSITIONS[before]] == [
        Status.PROCESSING
    ]
    check_transition(Status.PROCESSING, Status.SUCCEEDED)


@given(
    st.builds(
        Parameters,
        confidence=st.floats(0, 1),
        iou=st.floats(0, 1),
        max_detections=st.integers(1, 1000),
    )
)
def test_parameters_survive_their_json(parameters: Parameters) -> None:
    assert Parameters.model_validate_json(parameters.model_dump_json()) == parameters


def test_the_default_format_changes_neither_a_record_nor_a_digest() -> None:
    """A submission can be repeated across the upgrade that brought `output_format`."""
    assert "output_format" not in Parameters(output_format="jpg").model_dump_json()
    plain, default, png = (
        digest(b"image", Submission(model="codes", parameters=parameters))
        for parameters in (
            Parameters(),
            Parameters(output_format="jpg"),
            Parameters(output_format="png"),
        )
    )
    assert plain == default != png
    assert Parameters.model_validate_json('{"output_format": "webp"}').output_format == "webp"


def test_the_class_name_1_and_the_class_id_1_stay_apart() -> None:
    parameters = Parameters(classes=("1", 1))
    assert Parameters.model_validate_json(parameters.model_dump_json()).classes == ("1", 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 2},
        {"iou": -0.1},
        {"max_detections": 1001},
        {"confidence": "0.5"},
        {"other": 1},
        {"output_format": "gif"},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Parameters(**wrong)


def test_times_are_iso_8601_in_utc() -> None:
    assert isoformat(None) is None
    assert isoformat(0.25) == "1970-01-01T00:00:00.250000Z"
