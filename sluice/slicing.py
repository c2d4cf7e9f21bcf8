"""How a large image is cut into tiles, and how the tiles' detections become one list."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sluice import tiles
from sluice.errors import InvalidInput, TooManyTiles
from sluice.models import Task
from sluice.tiles import MAX_OVERLAP, MAX_SIDE, MIN_SIDE

Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
SizeHW = tuple[Side, Side]

_DEFAULT_OVERLAP = 0.2
_TASKS = (Task.DETECT, Task.SEGMENT, Task.OBB)
_FORMS = (
    "give true, a tile's side in pixels such as 640, or an object such as"
    ' {"size": [480, 640], "overlap": 0.2}'
)
_SIZE_FORMS = "give a tile's side in pixels such as 640, or height and width such as [480, 640]"
_SIDES = f"a tile has {MIN_SIDE} to {MAX_SIDE} pixels a side"


def _read_size(value: Any) -> Any:
    """Return height and width. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value, value)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != len(("height", "width")):
        raise ValueError(_SIZE_FORMS)
    if any(not isinstance(side, int) or isinstance(side, bool) for side in value):
        raise ValueError(_SIZE_FORMS)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in value):
        raise ValueError(f"{_SIDES}; {_SIZE_FORMS}")
    return tuple(value)


class Slicing(BaseModel):
    """The cutting and merging of one prediction."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"size": [480, 640], "overlap": 0.3}]},
    )

    size: Annotated[
        SizeHW | None, BeforeValidator(_read_size, json_schema_input_type=Side | SizeHW | None)
    ] = Field(
        None,
        description="A tile's height and width in pixels of the image, or one number for both."
        " By default the size of the model's input, so that tiles are not scaled.",
    )
    overlap: float = Field(
        _DEFAULT_OVERLAP,
        ge=0,
        le=MAX_OVERLAP,
        description="The least part of a tile that its neighbour has too. Objects up to that size"
        " are whole in at least one tile.",
    )
    whole: bool = Field(
        True, description="Also run the whole image, for objects larger than a tile."
    )
    metric: Literal["ios", "iou"] = Field(
        "ios",
        description="The overlap of two boxes from different tiles: over the smaller one's area,"
        " or over their union.",
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Overlap above which two boxes from different tiles are one object.",
    )


def read_slicing(value: Any) -> Any:
    """Return the object that `true` or one number stands for; `false` is none at all.

    Raises ValueError for a value in no form.
    """
    if value is True:
        return Slicing()
    if value is False or value is None:
        return None
    if isinstance(value, int):
        if not MIN_SIDE <= value <= MAX_SIDE:
            raise ValueError(f"{_SIDES}; {_FORMS}")
        return Slicing(size=(value, value))
    if not isinstance(value, dict | Slicing):
        raise ValueError(_FORMS)
    return value


#: A parameter in every form that callers may give. The schema shows the forms.
OptionalSlicing = Annotated[
    Slicing | None,
    BeforeValidator(read_slicing, json_schema_input_type=bool | Side | Slicing | None),
]


def check_task(task: Task) -> None:
    """Raises InvalidInput for a model whose results can't be joined from tiles."""
    if task not in _TASKS:
        raise InvalidInput(
            f"input.slice: the model's task is {task}, and tiles are for the tasks"
            f" {', '.join(_TASKS)}; leave slice out"
        )


def count_runs(slicing: Slicing, image_hw: tuple[int, int], size_hw: tuple[int, int]) -> int:
    """Return how many images the model sees: the tiles, and the whole image.

    An image that fits in one tile is run once.
    """
    number = tiles.count(image_hw, size_hw, slicing.overlap)
    return number + 1 if slicing.whole and number > 1 else number


def check_tiles(
    slicing: Slicing, image_hw: tuple[int, int], imgsz: tuple[int, int] | None, max_tiles: int
) -> None:
    """Raises TooManyTiles for an image that would be more than `max_tiles` tiles.

    `image_hw` is the upright image's height and width. `imgsz` is the model's input, or None where
    it is not known: a size by default is then not checked.
    """
    size = slicing.size or imgsz
    if size is None:
        return
    number = count_runs(slicing, image_hw, size)
    if number > max_tiles:
        (height, width), (rows, columns) = image_hw, size
        raise TooManyTiles(
            f"input.slice: the image of {width} x {height} pixels would be {number:,} tiles of"
            f" {columns} x {rows}, and at most {max_tiles:,} are allowed;"
            f" {_advice(slicing, image_hw, max_tiles)}"
        )


def _advice(slicing: Slicing, image_hw: tuple[int, int], max_tiles: int) -> str:
    larger = next(
        (
            side
            for side in range(MIN_SIDE, MAX_SIDE + 1, 32)
            if count_runs(slicing, image_hw, (side, side)) <= max_tiles
        ),
        None,
    )
    if larger is None:
        return "send a smaller image"
    return f"give a size of at least {larger}" + (", or a smaller overlap" * bool(slicing.overlap))
