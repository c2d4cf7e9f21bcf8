"""A model's description of itself: its task, the layout of its outputs, its classes, its input.

`sluice/model_config.py` reads the description from Triton's model configuration.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sluice.errors import InvalidInput, UnsupportedModel

Anchors = tuple[tuple[tuple[float, float], ...], ...]
_MAX_DIGITS = 20  # Python refuses to parse numbers of some thousand digits


class Task(StrEnum):
    """The kind of result that a model gives."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"
    CLASSIFY = "classify"


class Layout(StrEnum):
    """The order of the values in a model's main output.

    N is the number of images, A of anchors, C of classes, K of rows. E is the number of values that
    the task adds to a row: mask coefficients, keypoints, an angle, or none.
    """

    ANCHORS = "anchors"
    """(N, A, 5+C+E): cx, cy, w, h, objectness, a score a class."""
    ANCHOR_FREE = "anchor-free"
    """(N, 4+C+E, A): cx, cy, w, h, a score a class."""
    END_TO_END = "end-to-end"
    """(N, K, 6+E): x1, y1, x2, y2, score, class id; suppressed by the model."""
    QUERIES = "queries"
    """(N, K, 4+C): cx, cy, w, h as fractions of the canvas, a score a class; nothing overlaps."""
    RANKED_QUERIES = "ranked-queries"
    """(N, K, 6): cx, cy, w, h as fractions of the canvas, score, class id; nothing overlaps."""
    GRID = "grid"
    """(N, A, 5+C): like anchors; centres are offsets in cells, sizes are logarithms of cells.

    The cells are those of the strides 8, 16 and 32 in turn, row by row.
    """
    MAPS = "maps"
    """Several (N, B, h, w, 5+C), with B anchors a cell: logits of offsets, sizes and scores."""
    ROWS = "rows"
    """(M, 7): the image's index, x1, y1, x2, y2, class id, score; suppressed by the model."""
    CANDIDATES = "candidates"
    """(N, K, 6+E): cx, cy, w, h, the best score, its class id; not suppressed.

    The K rows with the best scores, the best first. `sluice models add` builds such a graph.
    """


#: The values in a row besides those of the classes and of the task.
_FIXED_VALUES = {
    Layout.ANCHORS: 5,
    Layout.ANCHOR_FREE: 4,
    Layout.END_TO_END: 6,
    Layout.QUERIES: 4,
    Layout.RANKED_QUERIES: 6,
    Layout.GRID: 5,
    Layout.MAPS: 5,
    Layout.ROWS: 7,
    Layout.CANDIDATES: 6,
}
_SCORE_A_CLASS = {Layout.ANCHORS, Layout.ANCHOR_FREE, Layout.QUERIES, Layout.GRID, Layout.MAPS}


class Placement(StrEnum):
    """How an image comes on the network's canvas."""

    CENTRE = "centre"
    """Scaled to fit, in the middle, padded on both sides."""
    CORNER = "corner"
    """Scaled to fit, at the top left, padded right and below."""
    STRETCH = "stretch"
    """Scaled to the canvas; the aspect ratio is lost."""


class Recipe(StrEnum):
    """The place where an image becomes a tensor, and where outputs become detections."""

    WORKER = "worker"
    """In the worker. Triton runs the network alone."""
    ENSEMBLE = "ensemble"
    """Inside Triton: an ensemble of the steps in `STEPS` takes the image's file."""


#: The models that an ensemble consists of, in their order.
STEPS = ("prepare", "network", "finish")
_STEP = re.compile(rf".+\.[1-9][0-9]*\.({'|'.join(STEPS)})")


def step_name(name: str, version: str | int, step: str) -> str:
    """Return the name of the model that is a step of a version of the ensemble `name`.

    Each version has steps of its own. An answer is then wholly that of one version.
    """
    return f"{name}.{version}.{step}"


def model_of_step(name: str) -> str:
    """Return the name of the ensemble that the step `name` belongs to."""
    return name.rsplit(".", 2)[0]


def is_step(name: str) -> bool:
    """Return True for the name of an ensemble's step. Steps are no models for clients."""
    return _STEP.fullmatch(name) is not None


class ChannelOrder(StrEnum):
    """The order of the colours in a tensor."""

    RGB = "rgb"
    BGR = "bgr"


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
    """Triton batches: the tensors have a batch dimension that the configuration does not show."""
    max_batch: int = 1
    """The largest number of images in one call where Triton batches."""
    fixed_batch: int = 0
    """The images in one call where Triton does not batch; 0 if the tensors have no such axis."""
    kpt_shape: tuple[int, int] | None = None
    """The number of keypoints and the values of each; None if the outputs tell."""
    letterbox: Placement = Placement.CENTRE
    channel_order: ChannelOrder = ChannelOrder.RGB
    pixel_max: int = 1
    """The value of a white pixel in a float input."""
    anchors: Anchors = ()
    """For the layout maps: width and height of each map's anchors, in network pixels."""
    raw_layout: Layout | None = None
    """For the layout candidates: the layout of the output that they were selected from."""
    raw_output: str = ""
    """The name of that output."""
    version: str = ""
    """The version that requests name; empty if Triton chooses."""
    retired: bool = False
    """No new predictions: the model is being removed."""
    recipe: Recipe = Recipe.WORKER
    """The place where images are prepared, and outputs read."""
    network: str = ""
    """For an ensemble: the model that holds its network, which takes canvases."""

    @property
    def channels_last(self) -> bool:
        """True where the input is (height, width, channels), False where channels come first."""
        return self.input.dims[-1] in (1, 3)

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return self.input.dims[-1 if self.channels_last else -3]

    @property
    def input_dims(self) -> tuple[int, ...]:
        """The input's dims, with the model's size where the graph leaves the sides open."""
        if self.channels_last:
            return (*self.imgsz, self.channels)
        return (self.channels, *self.imgsz)

    @property
    def leading(self) -> tuple[int, ...]:
        """The tensors' dimensions before their dims, in a call with one image."""
        return self.leading_of(1)

    def leading_of(self, images: int) -> tuple[int, ...]:
        """Return the tensors' dimensions before their dims, in a call with so many images."""
        if self.batched:
            return (images,)
        return (self.fixed_batch,) if self.fixed_batch else ()

    @property
    def room(self) -> int:
        """The largest number of images in one call."""
        return self.max_batch if self.batched else max(1, self.fixed_batch)

    @property
    def wanted_outputs(self) -> tuple[Tensor, ...]:
        """The outputs to ask for. The raw output behind candidates is rarely needed."""
        return tuple(output for output in self.outputs if output.name != self.raw_output)

    @property
    def raw(self) -> "Model | None":
        """The same model, read by its raw output; None where there is no other output."""
        if self.raw_layout is None:
            return None
        outputs = sorted(self.outputs, key=lambda output: output.name != self.raw_output)
        rest = [output for output in outputs[1:] if len(output.dims) != 2]
        return replace(
            self,
            layout=self.raw_layout,
            raw_layout=None,
            raw_output="",
            outputs=(outputs[0], *rest),
        )

    @property
    def fixed_values(self) -> int:
        """The number of values in a row before those that the task adds."""
        return _FIXED_VALUES[self.layout] + (
            len(self.names) if self.layout in _SCORE_A_CLASS else 0
        )

    def keypoints(self, values: int) -> tuple[int, int]:
        """Return the number of keypoints and the values of each, for `values` in a row.

        Raises UnsupportedModel where `values` fits neither form, or both and `kpt_shape` is None.
        """
        if self.kpt_shape:
            if self.kpt_shape[0] * self.kpt_shape[1] == values:
                return self.kpt_shape
            raise UnsupportedModel(
                f"model {self.name!r}: {self.kpt_shape[0]} keypoints of {self.kpt_shape[1]} values"
                f" do not fit the {values} values that its rows have for keypoints;"
                " correct sluice.kpt_shape, task, layout or names"
            )
        forms = [size for size in (2, 3) if values > 0 and values % size == 0]
        if len(forms) == 1:
            return values // forms[0], forms[0]
        problem = (
            f"may be {values // 3} keypoints of x, y and confidence, or {values // 2} of x and y;"
            f' add sluice.kpt_shape, such as "[{values // 3}, 3]", to its config.pbtxt'
            if forms
            else "are no keypoints; correct its task, layout or names"
        )
        raise UnsupportedModel(
            f"model {self.name!r}: the {values} values in a row beside box and scores {problem}"
        )

    def class_ids(self, classes: Sequence[str | int] | None) -> tuple[int, ...] | None:
        """Return the ids of classes given by name or id, None for None.

        Text that is a class's name stands for all classes of that name. Text of digits that is no
        class's name is an id, since forms and queries hold text only.
        Raises InvalidInput, with the model's classes, for an unknown one.
        """
        if classes is None:
            return None
        ids = dict.fromkeys(class_id for item in classes for class_id in self._ids_of(item))
        return tuple(ids)

    def _ids_of(self, item: str | int) -> Sequence[int]:
        if isinstance(item, str):
            if item in self.names:
                return [class_id for class_id, name in enumerate(self.names) if name == item]
            number = int(item) if item.isdecimal() and len(item) < _MAX_DIGITS else -1
        else:
            number = item
        if not 0 <= number < len(self.names):
            raise InvalidInput(
                f"model {self.name!r} has no class {item!r}; it has {', '.join(self.names)}"
            )
        return [number]
