"""The description of a model file: its task, its layout, its classes, its input."""

from dataclasses import dataclass

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Task
from sluice.repository.metadata import Metadata
from sluice.repository.onnx_file import GraphTensor, OnnxFile


@dataclass(frozen=True)
class Overrides:
    """The options of a person who knows the model. A field that is not given is None."""

    task: Task | None = None
    layout: Layout | None = None
    names: tuple[str, ...] | None = None
    """The classes' names, by class id."""
    imgsz: tuple[int, int] | None = None
    """The input's (height, width), in pixels."""
    kpt_shape: tuple[int, int] | None = None
    """(K, D): the number of keypoints, and 2 or 3 values for each."""
    letterbox: str | None = None
    """`centre`, `corner` or `stretch`."""
    channel_order: str | None = None
    """`rgb` or `bgr`."""
    pixel_max: int | None = None
    """1 or 255."""
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None = None
    """For each raw map its anchors (width, height), in network pixels."""


@dataclass(frozen=True)
class Description:
    """A model that Sluice can serve."""

    task: Task
    layout: Layout
    names: tuple[str, ...]
    """The classes' names, by class id."""
    imgsz: tuple[int, int]
    """The input's (height, width), in pixels: the size of the canvas that the model is fed."""
    input: GraphTensor
    """The image, of 1 or 3 channels. The batch axis and the sides may be open."""
    outputs: tuple[GraphTensor, ...]
    """The outputs that the head reads, the main output first. All others are left out.

    For task segment the prototypes come second; layout `maps` has its maps by rising stride.
    """
    batch: int
    """The images of one run: N where the batch axis is fixed, -1 where it is open."""
    channels_last: bool
    """The input is (N, height, width, channels), else (N, channels, height, width)."""
    extras: int = 0
    """E: the values that the task adds to each row of the main output."""
    kpt_shape: tuple[int, int] | None = None
    """(K, D) for task pose: the number of keypoints, and 2 or 3 values for each."""
    letterbox: str = "centre"
    """`centre`; `corner`: the image at the top left; `stretch`: no padding, aspect lost."""
    channel_order: str = "rgb"
    """`rgb` or `bgr`: the order that the input takes."""
    pixel_max: int = 1
    """1 or 255: the value of a white pixel in a float input. UINT8 inputs are always 255."""
    anchors: tuple[tuple[tuple[float, float], ...], ...] | None = None
    """For layout `maps`: for each map its anchors (width, height), in network pixels."""
    raw_layout: Layout | None = None
    """For layout `candidates`: the layout of the output from which they are selected."""
    raw_output: str | None = None
    """For layout `candidates`: the name of the output from which they are selected."""
    notes: tuple[str, ...] = ()
    """Sentences for the person: what was assumed, rounded or left out."""

    @property
    def channels(self) -> int:
        """The input's number of channels, 1 or 3."""
        assert self.input.shape is not None
        return self.input.shape[3 if self.channels_last else 1]


def describe(file: OnnxFile, metadata: Metadata, overrides: Overrides) -> Description:
    """Work out what the model in `file` is. The file's name is never read.

    Raises UnsupportedModel, with the option to give or the export to make.
    """
    (image,) = file.inputs
    main = file.outputs[0]
    names = overrides.names or metadata.names
    if names is None:
        raise UnsupportedModel("the file names no classes; give --names a,b,c")
    assert image.shape is not None
    height, width = image.shape[2:]
    imgsz = overrides.imgsz or metadata.imgsz
    if height > 0 and width > 0:
        imgsz = (height, width)
    if imgsz is None:
        raise UnsupportedModel("the input's sides are open; give --imgsz HEIGHT,WIDTH")
    return Description(
        task=overrides.task or metadata.task or Task.DETECT,
        layout=Layout.ANCHOR_FREE,
        names=names,
        imgsz=imgsz,
        input=image,
        outputs=(main,),
        batch=image.shape[0],
        channels_last=False,
    )
