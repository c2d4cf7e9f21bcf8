"""How a large image is cut into tiles, and how the tiles' detections become one list."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Side = Annotated[int, Field(ge=32, le=16_384)]

_DEFAULT_OVERLAP = 0.2
_MAX_OVERLAP = 0.8


class Slicing(BaseModel):
    """The cutting and merging of one prediction."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: tuple[Side, Side] | None = Field(
        None,
        description="A tile's height and width in pixels of the image, or one number for both."
        " By default the size of the model's input, so that tiles are not scaled.",
    )
    overlap: float = Field(
        _DEFAULT_OVERLAP,
        ge=0,
        le=_MAX_OVERLAP,
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

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return (value, value)
        return tuple(value) if isinstance(value, list) else value


def read_slicing(value: Any) -> Any:
    """Return the object that `true` or one number stands for; `false` is none at all."""
    if value is True:
        return Slicing()
    if value is False:
        return None
    if isinstance(value, int):
        return {"size": value}
    return value
