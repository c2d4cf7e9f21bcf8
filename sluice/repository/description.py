"""The description of a model file: its task, its layout, its classes, its input."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluice.errors import UnsupportedModel
from sluice.models import Anchors, ChannelOrder, Layout, Placement, Task
from sluice.repository import outputs, trial
from sluice.repository.anchors import usual_anchors
from sluice.repository.metadata import Metadata
from sluice.repository.onnx_file import GraphTensor, OnnxFile, channels_last, shown
from sluice.repository.outputs import Clues, Reading
from sluice.repository.preparation import YOLOX_STRIDES, usual_preparation
from sluice.repository.trial import Trial

_DEFAULT_SIDE = 640
_DEFAULT_CLASSIFIER_SIDE = 224
_DEFAULT_STRIDE = 32
_RTDETR = "RTDETRDecoder"


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
    letterbox: Placement | None = None
    channel_order: ChannelOrder | None = None
    pixel_max: int | None = None
    """1 or 255: the value of a white pixel in a float input."""
    anchors: Anchors | None = None
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
    letterbox: Placement = Placement.CENTRE
    channel_order: ChannelOrder = ChannelOrder.RGB
    """The order of colours that the input takes."""
    pixel_max: int = 1
    """1 or 255: the value of a white pixel in a float input. UINT8 inputs are always 0 to 255."""
    anchors: Anchors | None = None
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

    The graph is run once, on noise, where its sizes do not tell enough.

    Raises UnsupportedModel, with the option to give or the export to make.
    """
    return _Describer(file, metadata, overrides).describe()


class _Describer:
    """One description in the making. Every method raises UnsupportedModel."""

    def __init__(self, file: OnnxFile, metadata: Metadata, overrides: Overrides) -> None:
        self._file = file
        self._metadata = metadata
        self._overrides = overrides
        self._notes = list(metadata.notes)
        self._names = overrides.names or metadata.names
        self._kpt_shape = overrides.kpt_shape or metadata.kpt_shape
        self._task = overrides.task or metadata.task

        if self._kpt_shape and self._kpt_shape[1] not in (2, 3):
            raise UnsupportedModel("--kpt-shape is KEYPOINTS,VALUES with 2 or 3 values for each")
        if overrides.pixel_max not in (None, 1, 255):
            raise UnsupportedModel("--pixel-max is 1 or 255")

        shape = file.image.shape
        assert shape is not None  # onnx_file.read has checked the input
        self._last = channels_last(shape)
        self._batch = shape[0]
        self._sides = shape[1:3] if self._last else shape[2:4]
        self._channels = shape[3 if self._last else 1]

    def describe(self) -> Description:
        """Return the description."""
        image = self._image()
        self._imgsz = self._size()
        canvas = (*self._imgsz, self._channels)
        sides = canvas if self._last else (canvas[2], *canvas[:2])
        self._trial = Trial(self._file, (max(self._batch, 1), sides[0], sides[1], sides[2]))
        names, reading = self._names_and_reading()
        if reading.layout is Layout.ROWS and self._batch == -1:
            # Rows of all images are in one output, which no batcher can cut: one image a run.
            self._batch = 1
            assert image.shape is not None
            image = replace(image, shape=(1, *image.shape[1:]))
        usual = usual_preparation(reading, self._imgsz, self._metadata, self._trial)
        self._notes += [usual.note] if usual.note else []
        anchors = self._anchors(reading)
        return Description(
            task=reading.task,
            layout=reading.layout,
            names=names,
            imgsz=self._imgsz,
            input=image,
            outputs=tuple(self._declared(output) for output in reading.outputs),
            batch=self._batch,
            channels_last=self._last,
            extras=reading.extras,
            kpt_shape=self._keypoints(reading),
            letterbox=self._overrides.letterbox or usual.letterbox,
            channel_order=self._overrides.channel_order or usual.channel_order,
            pixel_max=self._overrides.pixel_max or usual.pixel_max,
            anchors=anchors,
            notes=tuple(self._notes),
        )

    def _image(self) -> GraphTensor:
        """Return the input with its number of channels."""
        if self._channels < 1:
            self._channels = 1 if self._metadata.channels == 1 else 3
        image = self._file.image
        assert image.shape is not None
        axis = 3 if self._last else 1
        shape = (*image.shape[:axis], self._channels, *image.shape[axis + 1 :])
        return replace(image, shape=shape)

    def _size(self) -> tuple[int, int]:
        """Return the canvas's (height, width): the graph's where fixed, else the person's."""
        given = self._overrides.imgsz
        height, width = self._sides
        if given and any(
            fixed not in (-1, side) for fixed, side in zip(self._sides, given, strict=True)
        ):
            raise UnsupportedModel(
                f"the graph is fixed to {height} x {width} pixels, so --imgsz {given[0]},{given[1]}"
                " can't be used; export the model again with that imgsz, or with dynamic=True"
            )
        if height > 0 and width > 0:
            return height, width
        wanted = given or self._metadata.imgsz or self._default_size()
        size = tuple(
            fixed if fixed > 0 else self._rounded(side)
            for fixed, side in zip(self._sides, wanted, strict=True)
        )
        return size[0], size[1]

    def _default_size(self) -> tuple[int, int]:
        ranks = {len(output.shape or ()) for output in self._file.outputs}
        classify = self._task is Task.CLASSIFY or ranks == {2}
        side = _DEFAULT_CLASSIFIER_SIDE if classify else _DEFAULT_SIDE
        self._notes.append(
            "The graph takes any size, and the file names none."
            f" {side} x {side} pixels are used; give --imgsz for another size."
        )
        return side, side

    def _rounded(self, side: int) -> int:
        """Return `side` rounded up to the stride, in pixels."""
        stride = self._metadata.stride or _DEFAULT_STRIDE
        rounded = -(-side // stride) * stride
        if rounded != side:
            self._notes.append(
                f"A side of {side} pixels is rounded up to {rounded}, a multiple of the stride"
                f" {stride}."
            )
        return rounded

    def _names_and_reading(self) -> tuple[tuple[str, ...], Reading]:
        """Return the class names, and the one meaning of the outputs."""
        sized = self._sized()
        clues = self._clues()
        try:
            found = self._by_values(outputs.choose(outputs.readings(sized, clues), sized, clues))
        except UnsupportedModel as error:
            notes = (note.rstrip(".") for note in self._metadata.notes)
            raise UnsupportedModel(". ".join((error.message, *notes))) from None
        if self._names is None:
            raise self._without_names(found)
        if len({(reading.task, reading.layout, reading.classes) for reading in found}) > 1:
            raise UnsupportedModel(
                f"the outputs may be {outputs.labels(found)}; give --layout or --task to choose"
            )
        if len(found) > 1:
            # YOLOv9's training graphs have two heads, and the second is the one to use.
            self._notes.append(
                f"Several outputs fit, and the last of them is used: {found[-1].outputs[0].name}."
            )
        return self._names, found[-1]

    def _without_names(self, found: Sequence[Reading]) -> UnsupportedModel:
        counts = {reading.classes for reading in found}
        (count,) = counts if len(counts) == 1 else (None,)
        wanted = "classes" if count is None else outputs.counted(count)
        reasons = "".join(f". {note.rstrip('.')}" for note in self._metadata.notes)
        return UnsupportedModel(
            f"the file names no classes; give --names with the names of its {wanted}, in the order"
            f" of their ids (the outputs are {outputs.labels(found)}){reasons}"
        )

    def _clues(self) -> Clues:
        by_operators = "NonMaxSuppression" in self._file.operators or None
        metadata = self._metadata
        suppressed: bool | None = metadata.nms or metadata.end2end or by_operators
        if suppressed is None and metadata.end2end is False:
            suppressed = False
        first_sides = [(output.shape or (0,))[0] for output in self._file.outputs]
        return Clues(
            hw=self._imgsz,
            batch=max(self._batch, 1),
            names=None if self._names is None else len(self._names),
            task=self._task,
            layout=self._overrides.layout,
            kpt_shape=self._kpt_shape,
            suppressed=suppressed,
            queries=None if metadata.head is None else metadata.head == _RTDETR,
            rows=by_operators or (self._batch > 0 and -1 in first_sides),
        )

    def _sized(self) -> list[GraphTensor]:
        """Return the outputs with complete shapes. The graph is run where it does not tell them."""
        declared = self._file.outputs
        batch = max(self._batch, 1)
        sized = []
        for output in declared:
            shape = output.shape
            if shape is None or -1 in shape[1:]:
                shape = self._trial.outputs[output.name].shape
            elif shape and shape[0] == -1:
                shape = (batch, *shape[1:])
            sized.append(replace(output, shape=shape))
        return sized

    def _declared(self, output: GraphTensor) -> GraphTensor:
        """Return an output as the graph declares it; where it declares no shape, as it came."""
        (declared,) = (tensor for tensor in self._file.outputs if tensor.name == output.name)
        if declared.shape is not None:
            return declared
        assert output.shape is not None
        return replace(output, shape=(self._batch, *output.shape[1:]))

    def _by_values(self, found: Sequence[Reading]) -> Sequence[Reading]:
        """Narrow readings of equal sizes by the numbers of one run."""
        layouts = {reading.layout for reading in found}
        if len(layouts) > 1 and layouts <= {Layout.END_TO_END, *outputs.QUERIES}:
            table = self._trial.outputs[found[0].outputs[0].name]
            if not trial.holds_class_ids(table):
                layout = Layout.QUERIES
            elif trial.holds_fractions(table):
                layout = Layout.RANKED_QUERIES
            else:
                layout = Layout.END_TO_END
            return [reading for reading in found if reading.layout is layout] or found
        if self._overrides.layout is Layout.GRID:
            return [replace(reading, layout=Layout.GRID) for reading in found]
        if self._overrides.layout is None:
            return [self._as_grid(reading) for reading in found]
        return found

    def _as_grid(self, reading: Reading) -> Reading:
        """Return YOLOX's reading as layout grid where its grid is not applied in the graph."""
        grid = outputs.one_anchor_grid(reading, self._imgsz)
        if reading.task is not Task.DETECT or grid != YOLOX_STRIDES:
            return reading
        table = self._trial.outputs[reading.outputs[0].name]
        if not trial.holds_offsets(table, grid, self._imgsz):
            return reading
        return replace(reading, layout=Layout.GRID)

    def _keypoints(self, reading: Reading) -> tuple[int, int] | None:
        if reading.task is not Task.POSE:
            return None
        if self._kpt_shape:
            return self._kpt_shape
        sizes = [size for size in (2, 3) if reading.extras % size == 0]
        if len(sizes) == 1:
            return reading.extras // sizes[0], sizes[0]
        raise UnsupportedModel(
            f"rows have {reading.extras} values for keypoints, which may be"
            f" {reading.extras // 3} of x, y and confidence, or {reading.extras // 2} of x and y;"
            f" give --kpt-shape {reading.extras // 3},3 or --kpt-shape {reading.extras // 2},2"
        )

    def _anchors(self, reading: Reading) -> Anchors | None:
        if reading.layout is not Layout.MAPS:
            return None
        shapes = [output.shape or (0, 0) for output in reading.outputs]
        anchors = self._overrides.anchors
        if anchors is None:
            usual = usual_anchors(self._file.model, len(shapes))
            if usual is None:
                raise UnsupportedModel(
                    f"the anchors of {len(shapes)} maps are not in the graph; give --anchors"
                )
            whose, anchors = usual
            self._notes.append(
                f"The graph does not hold its anchors, so those of {whose} are assumed."
                " If the model was trained with others, give --anchors, or export its whole head."
            )
        if [len(level) for level in anchors] != [shape[1] for shape in shapes]:
            raise UnsupportedModel(
                f"{[len(level) for level in anchors]} anchors don't fit the maps"
                f" {', '.join(shown(output.shape) for output in reading.outputs)};"
                " give --anchors with as many a map as its second side says"
            )
        return anchors
