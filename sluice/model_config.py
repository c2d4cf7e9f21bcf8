"""Reads a model's description from Triton's configuration of the model.

The description is in the `parameters` of the model's `config.pbtxt`. Triton returns them, so that
the api and the worker read no file of the model:

    sluice.task           detect | segment | pose | obb | classify
    sluice.layout         a value of Layout
    sluice.names          the classes' names, a JSON list; the index is the class id
    sluice.imgsz          the input's height and width in pixels, a JSON list;
                          needed only where the config's dims are -1
    sluice.kpt_shape      for pose, a JSON list: the number of keypoints, and the values of each,
                          2 (x, y) or 3 (x, y, confidence); needed only where both would fit
    sluice.letterbox      a value of Placement
    sluice.channel_order  rgb | bgr, of a float input
    sluice.pixel_max      1 | 255: the value of a white pixel in a float input
    sluice.anchors        for the layout maps, a JSON list: the anchors of each map, [[w, h], ...]
                          in network pixels
    sluice.raw_output     for the layout candidates: the output that they were selected from
    sluice.raw_layout     the layout of that output
    sluice.version        the version that the configuration describes; requests name this version
    sluice.recipe         a value of Recipe; `worker` where absent
    sluice.network        for an ensemble: the model that its network runs in
    sluice.retired        true while `sluice models remove` waits for the last predictions

`sluice models add` writes all of them. The guide, docs/guide/models.md, has the form for a
configuration that is written by hand.

The configuration is Triton's `ModelConfig` as JSON:
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sluice.errors import UnsupportedModel
from sluice.models import (
    Anchors,
    ChannelOrder,
    Layout,
    Model,
    Placement,
    Recipe,
    Task,
    Tensor,
)


def read(config: Mapping[str, Any]) -> Model:
    """Read a Triton model configuration, in the form of its JSON.

    Raises UnsupportedModel, with the line of `config.pbtxt` to add or change.
    """
    reader = _Reader(config)
    image, outputs, fixed_batch = reader.image_and_outputs()
    model = Model(
        name=reader.name,
        task=reader.choice("sluice.task", Task, Task.DETECT),
        layout=reader.layout,
        names=tuple(str(item) for item in reader.list_("sluice.names")),
        imgsz=reader.imgsz(image.dims),
        input=image,
        outputs=outputs,
        batched=reader.batched,
        max_batch=reader.max_batch,
        fixed_batch=fixed_batch,
        kpt_shape=reader.kpt_shape(),
        letterbox=reader.choice("sluice.letterbox", Placement, Placement.CENTRE),
        channel_order=reader.choice("sluice.channel_order", ChannelOrder, ChannelOrder.RGB),
        pixel_max=reader.pixel_max(),
        anchors=reader.anchors(),
        raw_layout=reader.choice("sluice.raw_layout", Layout, None),
        raw_output=reader.parameters.get("sluice.raw_output", ""),
        version=reader.parameters.get("sluice.version", ""),
        retired=reader.parameters.get("sluice.retired") == "true",
        recipe=reader.recipe,
        network=reader.network(),
    )
    _check_keypoints(model)
    return model


def _check_keypoints(model: Model) -> None:
    """Raises UnsupportedModel where the rows of a pose model, if their length is known, misfit."""
    if model.recipe is Recipe.ENSEMBLE:  # its network's configuration has the rows
        return
    axis = 0 if model.layout is Layout.ANCHOR_FREE else -1
    for output in model.wanted_outputs:
        if model.task is Task.POSE and len(output.dims) == 2 and output.dims[axis] > 0:
            model.keypoints(output.dims[axis] - model.fixed_values)
            return


class _Reader:
    """Reads one configuration. Every method raises UnsupportedModel, with what to correct."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name = str(config.get("name", ""))
        self._config = config
        self.parameters = {
            key: str(value.get("string_value", ""))
            for key, value in config.get("parameters", {}).items()
        }

        self.layout: Layout = self.choice("sluice.layout", Layout, Layout.ANCHOR_FREE)
        self.recipe: Recipe = self.choice("sluice.recipe", Recipe, Recipe.WORKER)
        self.max_batch = max(1, int(config.get("max_batch_size", 0)))
        self.batched = int(config.get("max_batch_size", 0)) > 0

    def image_and_outputs(self) -> tuple[Tensor, tuple[Tensor, ...], int]:
        """Return the input, the outputs, and the model's `fixed_batch`."""
        inputs, outputs = self._tensors("input"), self._tensors("output")
        if self.recipe is Recipe.ENSEMBLE and inputs:
            return inputs[0], outputs, 0
        if len(inputs) != 1:
            raise UnsupportedModel(
                f"model {self.name!r} has {len(inputs)} inputs;"
                " Sluice serves models with one, the image"
            )
        (image,) = inputs
        if self.batched or len(image.dims) != 4:
            return image, outputs, 0
        batch = max(1, image.dims[0])
        image = replace(image, dims=image.dims[1:])
        if self.layout is not Layout.ROWS:
            outputs = tuple(self._without_batch(output, batch) for output in outputs)
        return image, outputs, batch

    def _tensors(self, kind: str) -> tuple[Tensor, ...]:
        return tuple(_tensor(entry) for entry in self._config.get(kind, []))

    def _without_batch(self, output: Tensor, batch: int) -> Tensor:
        if not output.dims or output.dims[0] not in (-1, batch):
            raise UnsupportedModel(
                f"model {self.name!r}: its input has dims for {batch} images,"
                f" but its output {output.name!r} has dims {list(output.dims)}; export it again"
            )
        return replace(output, dims=output.dims[1:])

    def choice(self, parameter: str, choices: Any, default: Any) -> Any:
        value = self.parameters.get(parameter)
        if value is None:
            return default
        try:
            return choices(value)
        except ValueError:
            raise UnsupportedModel(
                f"model {self.name!r}: {parameter!r} in the parameters of its config.pbtxt must be"
                f" one of {', '.join(choices)}, not {value!r}"
            ) from None

    def list_(self, parameter: str) -> list[Any]:
        try:
            value = json.loads(self.parameters[parameter])
        except KeyError:
            raise UnsupportedModel(
                f"model {self.name!r} has no {parameter!r};"
                " add it to the parameters of its config.pbtxt"
            ) from None
        except ValueError:
            value = None
        if not isinstance(value, list) or not value:
            raise self._not("a JSON list", parameter)
        return value

    def imgsz(self, dims: tuple[int, ...]) -> tuple[int, int]:
        """Return (height, width) in pixels: the graph's where fixed, else that of the parameters.

        `dims` are the input's.
        """
        if self.recipe is Recipe.ENSEMBLE:  # takes image files
            return self._integers("sluice.imgsz", "a JSON list of height and width")
        image = dims[-3:]
        if len(image) != 3 or not {1, 3} & {image[0], image[2]}:
            raise UnsupportedModel(
                f"model {self.name!r}: its input's dims {list(dims)}"
                " are neither [3, H, W] nor [H, W, 3], with 1 for 3 if it takes grey images"
            )
        height, width = image[:2] if image[2] in (1, 3) else image[1:]
        if height < 1 or width < 1:
            height, width = self._integers("sluice.imgsz", "a JSON list of height and width")
        return height, width

    def network(self) -> str:
        name = self.parameters.get("sluice.network", "")
        if self.recipe is Recipe.ENSEMBLE and not name:
            raise UnsupportedModel(
                f"model {self.name!r} has no 'sluice.network';"
                " name the model that its network runs in"
            )
        return name

    def kpt_shape(self) -> tuple[int, int] | None:
        if "sluice.kpt_shape" not in self.parameters:
            return None
        shape = "a JSON list of the number of keypoints and the values of each, 2 or 3"
        count, values = self._integers("sluice.kpt_shape", shape)
        if values not in (2, 3):
            raise self._not(shape, "sluice.kpt_shape")
        return count, values

    def pixel_max(self) -> int:
        value = self.parameters.get("sluice.pixel_max", "1")
        if value not in ("1", "255"):
            raise self._not("1 or 255", "sluice.pixel_max")
        return int(value)

    def anchors(self) -> Anchors:
        if "sluice.anchors" not in self.parameters:
            return ()
        try:
            return tuple(
                tuple((float(width), float(height)) for width, height in level)
                for level in self.list_("sluice.anchors")
            )
        except (TypeError, ValueError):
            raise self._not(
                "a JSON list with a list of [width, height] for each map", "sluice.anchors"
            ) from None

    def _integers(self, parameter: str, form: str) -> tuple[int, int]:
        """Return two positive numbers."""
        try:
            first, second = (int(item) for item in self.list_(parameter))
        except (TypeError, ValueError):
            raise self._not(form, parameter) from None
        if first < 1 or second < 1:
            raise self._not(form, parameter)
        return first, second

    def _not(self, form: str, parameter: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"model {self.name!r}: {parameter!r} in the parameters of its config.pbtxt"
            f" must be {form}"
        )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    # Protobuf's JSON has 64-bit numbers as strings.
    dims = tuple(int(dim) for dim in entry.get("dims", []))
    return Tensor(str(entry["name"]), str(entry["data_type"]).removeprefix("TYPE_"), dims)
