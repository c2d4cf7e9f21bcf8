"""The parameter `slice`: its forms, and the bound on tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sluice.errors import InvalidInput, TooManyTiles
from sluice.models import Task
from sluice.prediction import Parameters, Prediction, Submission, digest
from sluice.slicing import Slicing, check_task, check_tiles, count_runs


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        (True, Slicing()),
        ({}, Slicing()),
        (640, Slicing(size=(640, 640))),
        ({"size": 640}, Slicing(size=(640, 640))),
        ({"size": [480, 640], "overlap": 0.3}, Slicing(size=(480, 640), overlap=0.3)),
        ({"whole": False, "metric": "iou"}, Slicing(whole=False, metric="iou")),
        ({"size": None}, Slicing()),
        (False, None),
        (None, None),
    ],
)
def test_every_form_is_read(given_: object, read: Slicing | None) -> None:
    parameters = Parameters.model_validate({"slice": given_})
    assert parameters.slice == read
    assert Parameters.model_validate_json(parameters.model_dump_json()) == parameters


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("big", "give true, a tile's side in pixels such as 640, or an object"),
        (0.5, "give true"),
        ([640, 640], "give true"),
        (20, "a tile has 32 to 16384 pixels a side"),
        ({"size": 16_385}, "a tile has 32 to 16384 pixels a side"),
        ({"size": [640]}, "height and width such as"),
        ({"size": [640, True]}, "height and width such as"),
        ({"size": "640"}, "height and width such as"),
        ({"overlap": 0.9}, "less than or equal to 0.8"),
        ({"tile": 640}, "Extra inputs"),
    ],
)
def test_a_wrong_form_is_refused_once_with_what_to_give(wrong: object, advice: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Parameters.model_validate({"slice": wrong})
    (error,) = raised.value.errors()
    assert advice in error["msg"]


def test_a_submission_without_slices_has_the_record_and_the_digest_of_before() -> None:
    """A submission can be repeated across the upgrade that brought `slice`."""
    plain, off, on = (
        Submission(model="codes", parameters=parameters)
        for parameters in (
            Parameters(),
            Parameters.model_validate({"slice": False}),
            Parameters.model_validate({"slice": True}),
        )
    )
    # The digest as computed by the version before.
    assert (
        digest(b"image", plain)
        == digest(b"image", off)
        == ("6d8231d12138ce54c5c8b39564a6b5baafa7681c998fbfbe3946b5758453bffe")
    )
    assert "slice" not in off.model_dump_json()
    assert digest(b"image", on) != digest(b"image", plain)
    same = Submission(
        model="codes", parameters=Parameters.model_validate({"slice": {"overlap": 0.2}})
    )
    assert digest(b"image", on) == digest(b"image", same)


def test_a_record_of_before_is_read() -> None:
    record = (
        '{"model": "codes", "parameters": {"confidence": 0.5}, "id": "a", "status": "starting",'
        ' "created_at": 1.5}'
    )
    assert Prediction.model_validate_json(record).parameters.slice is None


@pytest.mark.parametrize("task", Task)
def test_slices_are_for_tasks_with_boxes_alone(task: Task) -> None:
    if task in (Task.DETECT, Task.SEGMENT, Task.OBB):
        check_task(task)
    else:
        with pytest.raises(InvalidInput, match=f"task is {task}, .* leave slice out"):
            check_task(task)


def test_the_whole_image_counts_unless_it_is_one_tile() -> None:
    assert count_runs(Slicing(), (640, 1000), (640, 640)) == 3
    assert count_runs(Slicing(whole=False), (640, 1000), (640, 640)) == 2
    assert count_runs(Slicing(), (480, 640), (640, 640)) == 1


def test_an_image_of_too_many_tiles_is_refused_with_a_size_that_fits() -> None:
    image_hw = (3000, 4000)
    check_tiles(Slicing(), image_hw, (640, 640), 49)
    with pytest.raises(TooManyTiles) as raised:
        check_tiles(Slicing(), image_hw, (640, 640), 48)
    assert raised.value.message == (
        "input.slice: the image of 4000 x 3000 pixels would be 49 tiles of 640 x 640,"
        " and at most 48 are allowed; give a size of at least 704, or a smaller overlap"
    )
    check_tiles(Slicing(size=(704, 704)), image_hw, (640, 640), 48)


def test_the_size_that_was_given_counts_and_not_the_models() -> None:
    with pytest.raises(TooManyTiles, match="tiles of 64 x 32"):
        check_tiles(Slicing(size=(32, 64)), (640, 640), (640, 640), 100)
    with pytest.raises(TooManyTiles):
        check_tiles(Slicing(size=(32, 64)), (640, 640), None, 100)
    check_tiles(Slicing(), (9999, 9999), None, 1)


@given(
    st.tuples(st.integers(1, 16_000), st.integers(1, 16_000)),
    st.tuples(st.integers(32, 700), st.integers(32, 700)),
    st.floats(0, 0.8),
    st.booleans(),
    st.integers(1, 300),
)
def test_the_advice_helps(
    image_hw: tuple[int, int], size: tuple[int, int], overlap: float, whole: bool, bound: int
) -> None:
    slicing = Slicing(size=size, overlap=overlap, whole=whole)
    try:
        check_tiles(slicing, image_hw, None, bound)
    except TooManyTiles as error:
        side = int(error.message.partition("at least ")[2].partition(",")[0])
        check_tiles(slicing.model_copy(update={"size": (side, side)}), image_hw, None, bound)
