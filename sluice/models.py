"""What a model says of itself: its task, the layout of its outputs, its classes and its input.

A model says so in the `parameters` of its `config.pbtxt`, so that a client on another machine needs no file of it:

    sluice.task    detect | segment | pose | obb | classify
    sluice.layout  anchors | anchor-free | end-to-end
    sluice.names   the classes' names, a JSON list; the index is the class id
    sluice.imgsz   the input's height and width in pixels, a JSON list; needed only where the config's dims are -1

The format of the configuration is Triton's `ModelConfig`
(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto), as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sluice.errors import InvalidInput, UnsupportedModel


class Task(StrEnum):
    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"
    CLASSIFY = "classify"


class Layout(StrEnum):
    ANCHORS = "anchors"  # (N, A, 5+C): cx, cy, w, h, objectness, a score per class
    ANCHOR_FREE = "anchor-free"  # (N, 4+C, A): cx, cy, w, h, a score per class
    END_TO_END = "end-to-end"  # (N, K, 6): x1, y1, x2, y2, score, class id; suppressed already


@dataclass(frozen=True)
class Tensor:
    """One input or output; `dims` are without the batch dimension, `dtype` is Triton's, as in "UINT8", "FP32"."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model as Triton has it loaded. `imgsz` is (height, width) in pixels; `names[i]` is the name of class i."""

    name: str
    task: Task
    layout: Layout
    names: tuple[str, ...]
    imgsz: tuple[int, int]
    input: Tensor
    outputs: tuple[Tensor, ...]
    batched: bool

    @property
    def channels_last(self) -> bool:
        """Whether the input is (height, width, 3) rather than (3, height, width)."""
        return self.input.dims[-1] == 3

    def class_ids(self, classes: Sequence[str | int] | None) -> tuple[int, ...] | None:
        """The ids of classes given by name or id, None for None. Raises InvalidInput, naming the classes there are."""
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
        """Read a Triton model configuration, as JSON gives it.

        Raises UnsupportedModel, saying which line of `config.pbtxt` to add or change.
        """
        name = str(config.get("name", ""))
        said = {
            key: str(value.get("string_value", ""))
            for key, value in config.get("parameters", {}).items()
        }
        inputs = [_tensor(entry) for entry in config.get("input", [])]
        if len(inputs) != 1:
            raise UnsupportedModel(
                f"model {name!r} has {len(inputs)} inputs; Sluice serves models with one, the image"
            )
        try:
            task = Task(said.get("sluice.task", Task.DETECT))
            layout = Layout(said.get("sluice.layout", Layout.ANCHOR_FREE))
        except ValueError as error:
            raise UnsupportedModel(
                f"model {name!r}: {error} in the parameters of its config.pbtxt"
            ) from None
        (input_tensor,) = inputs
        return cls(
            name=name,
            task=task,
            layout=layout,
            names=tuple(str(item) for item in _json_list(name, said, "sluice.names")),
            imgsz=_imgsz(name, said, input_tensor.dims),
            input=input_tensor,
            outputs=tuple(_tensor(entry) for entry in config.get("output", [])),
            batched=int(config.get("max_batch_size", 0)) > 0,
        )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    dims = tuple(
        int(dim) for dim in entry.get("dims", [])
    )  # 64-bit numbers are strings in protobuf's JSON
    return Tensor(str(entry["name"]), str(entry["data_type"]).removeprefix("TYPE_"), dims)


def _json_list(name: str, said: Mapping[str, str], key: str) -> list[Any]:
    try:
        value = json.loads(said[key])
    except KeyError:
        raise UnsupportedModel(
            f"model {name!r} does not say {key!r}; add it to the parameters of its config.pbtxt"
        ) from None
    except ValueError:
        value = None
    if not isinstance(value, list) or not value:
        raise UnsupportedModel(
            f"model {name!r}: {key!r} in the parameters of its config.pbtxt must be a JSON list"
        )
    return value


def _imgsz(name: str, said: Mapping[str, str], dims: tuple[int, ...]) -> tuple[int, int]:
    """(height, width): the graph's own where it is fixed, else what the parameters say."""
    image = dims[-3:]
    if len(image) != 3 or 3 not in (image[0], image[2]):
        raise UnsupportedModel(
            f"model {name!r}: its input's dims {list(dims)} are neither [3, H, W] nor [H, W, 3]"
        )
    height, width = (image[0], image[1]) if image[2] == 3 else (image[1], image[2])
    if height < 1 or width < 1:
        height, width = (int(side) for side in _json_list(name, said, "sluice.imgsz"))
    return height, width
