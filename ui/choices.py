"""The choices on the tab Try, and the options of a submission that follow from them."""

from typing import Any, Generic, NamedTuple, TypeVar

from sluice.client.calls import Options

T = TypeVar("T")


class Choices(NamedTuple, Generic[T]):
    """The components, or their values, in the order in which events pass them."""

    model: T
    classes: T
    confidence: T
    iou: T
    slicing: T
    tile: T


def options(choices: Choices[Any]) -> Options:
    """The options of each submission. The image is drawn too."""
    chosen: Options = {
        "confidence": choices.confidence,
        "iou": choices.iou,
        "visualize": True,
    }
    if choices.model:
        chosen["model"] = choices.model
    if choices.classes:
        chosen["classes"] = list(choices.classes)
    if choices.slicing:
        chosen["slice"] = int(choices.tile) if choices.tile else True
    return chosen
