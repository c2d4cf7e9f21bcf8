"""A model's description of itself: its task, the layout of its outputs, its classes, its input.

The description is in the `parameters` of the model's `config.pbtxt`. Triton returns them, so that
the api and the worker read no file of the model:

    sluice.task    detect | segment | pose | obb | classify
    sluice.layout  anchors | anchor-free | end-to-end
    sluice.names   the classes' names, a JSON list; the index is the class id
    sluice.imgsz   the input's height and width in pixels, a JSON list;
                   needed only where the config's dims are -1

The configuration is Triton's `ModelConfig` as JSON:
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sluice.errors import InvalidInput, UnsupportedModel


class Task(StrEnum):
    """The kind of result that a model gives."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"
    CLASSIFY = "classify"


class Layout(StrEnum):
    """The order of the values in a model's main output, for N images and C classes."""

    ANCHORS = "anchors"
    """(N, A, 5+C): cx, cy, w, h, objectness, a score a class."""
    ANCHOR_FREE = "anchor-free"
    """(N, 4+C, A): cx, cy, w, h, a score a class."""
    END_TO_END = "end-to-end"
    """(N, K, 6): x1, y1, x2, y2, score, class id; suppressed by the model."""


@dataclass(frozen=True)
class Tensor:
    """One input or output."""

    name: str
    dtype: str
    """Triton's name of the type, such as UINT8 or FP32."""
    dims: tuple[int, ...]
    """Without the batch dimension; -1 where a side is open."""


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    name: str
    task: Task
    layout: Layout
    names: tuple[str, ...]
    """The classes' names, by class id."""
    imgsz: tuple[int, int]
    """The input's (height, width), in pixels."""
    input: Tensor
    outputs: tuple[Tensor, ...]
    batched: bool
    """The input and the outputs have a batch dimension."""

    @property
    def channels_last(self) -> bool:
        """True where the input is (height, width, 3), False where it is (3, height, width)."""
        return self.input.dims[-1] == 3

    def class_ids(self, classes: Sequence[str | int] | None) -> tuple[int, ...] | None:
        """Return the ids of classes given by name or id, None for None.

        Raises InvalidInput, with the model's classes, for an unknown one.
        """
        if classes is None:
            return None
        ids = tuple(self.names.index(item) if item in self.names else item for item in classes)
        for item in ids:
            if isinstance(item, str) or not 0 <= item < len(self.names):
                raise InvalidInput(
                    f"model {self.name!r} has no class {item!r}; it has {', '.join(self.names)}"
                )
        return tuple(item for item in ids if isinstance(item, int))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Model":
        """Read a Triton model configuration, in the form of its JSON.

        Raises UnsupportedModel, with the line of `config.pbtxt` to add or change.
        """
        name = str(config.get("name", ""))
        parameters = {
            key: str(value.get("string_value", ""))
            for key, value in config.get("parameters", {}).items()
        }
        inputs = [_tensor(entry) for entry in config.get("input", [])]
        if len(inputs) != 1:
            raise UnsupportedModel(
                f"model {name!r} has {len(inputs)} inputs; Sluice serves models with one, the image"
            )
        try:
            task = Task(parameters.get("sluice.task", Task.DETECT))
            layout = Layout(parameters.get("sluice.layout", Layout.ANCHOR_FREE))
        except ValueError as error:
            raise UnsupportedModel(
                f"model {name!r}: {error} in the parameters of its config.pbtxt"
            ) from None
        (input_tensor,) = inputs
        return cls(
            name=name,
            task=task,
            layout=layout,
            names=tuple(str(item) for item in _json_list(name, parameters, "sluice.names")),
            imgsz=_imgsz(name, parameters, input_tensor.dims),
            input=input_tensor,
            outputs=tuple(_tensor(entry) for entry in config.get("output", [])),
            batched=int(config.get("max_batch_size", 0)) > 0,
        )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    # Protobuf's JSON has 64-bit numbers as strings.
    dims = tuple(int(dim) for dim in entry.get("dims", []))
    return Tensor(str(entry["name"]), str(entry["data_type"]).removeprefix("TYPE_"), dims)


def _json_list(name: str, parameters: Mapping[str, str], parameter: str) -> list[Any]:
    try:
        value = json.loads(parameters[parameter])
    except KeyError:
        raise UnsupportedModel(
            f"model {name!r} has no {parameter!r}; add it to the parameters of its config.pbtxt"
        ) from None
    except ValueError:
        value = None
    if not isinstance(value, list) or not value:
        raise UnsupportedModel(
            f"model {name!r}: {parameter!r} in the parameters of its config.pbtxt"
            " must be a JSON list"
        )
    return value


def _imgsz(name: str, parameters: Mapping[str, str], dims: tuple[int, ...]) -> tuple[int, int]:
    """Return (height, width) in pixels: the graph's where fixed, else that of the parameters."""
    image = dims[-3:]
    if len(image) != 3 or 3 not in (image[0], image[2]):
        raise UnsupportedModel(
            f"model {name!r}: its input's dims {list(dims)} are neither [3, H, W] nor [H, W, 3]"
        )
    height, width = (image[0], image[1]) if image[2] == 3 else (image[1], image[2])
    if height < 1 or width < 1:
        height, width = (int(side) for side in _json_list(name, parameters, "sluice.imgsz"))
    return height, width
