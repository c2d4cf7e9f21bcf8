"""The way an image comes to a model's input: its place, its colours, its numbers."""

from dataclasses import dataclass

from sluice.models import ChannelOrder, Layout, Placement, Task
from sluice.repository import outputs, trial
from sluice.repository.metadata import Metadata
from sluice.repository.outputs import Reading
from sluice.repository.trial import Trial

YOLOX_STRIDES = (8, 16, 32)
_ULTRALYTICS_OUTPUT = "output0"  # YOLOX's exporter says `output`


@dataclass(frozen=True)
class Preparation:
    """The preparation of images for one model."""

    letterbox: Placement = Placement.CENTRE
    channel_order: ChannelOrder = ChannelOrder.RGB
    pixel_max: int = 1
    """1 or 255: the value of a white pixel in a float input."""
    note: str | None = None
    """A sentence for the person, where something was assumed."""


def usual_preparation(
    reading: Reading, hw: tuple[int, int], metadata: Metadata, run: Trial
) -> Preparation:
    """Return the preparation of the family that `reading` belongs to.

    `hw` is the input's (height, width) in pixels. Raises UnsupportedModel if the graph has to be
    run and fails.
    """
    if reading.layout in outputs.QUERIES:
        return Preparation(Placement.STRETCH)
    if reading.task is Task.CLASSIFY:
        return _of_classifier(reading, hw, run)
    if _is_yolox(reading, hw, metadata, run):
        # https://github.com/Megvii-BaseDetection/YOLOX/blob/main/yolox/data/data_augment.py
        return Preparation(
            Placement.CORNER,
            ChannelOrder.BGR,
            255,
            "The outputs are YOLOX's, so images lie at the top left, in BGR, from 0 to 255."
            " If the model wants others, give --letterbox, --channel-order and --pixel-max.",
        )
    return Preparation()


def _of_classifier(reading: Reading, hw: tuple[int, int], run: Trial) -> Preparation:
    """A classifier sees the middle of an image, or all of it where its sides differ."""
    letterbox = Placement.CENTRE if hw[0] == hw[1] else Placement.STRETCH
    if not trial.holds_logits(run.outputs[reading.outputs[0].name]):
        return Preparation(letterbox)
    return Preparation(
        letterbox,
        note="The classifier gives logits, as YOLOv5's do. YOLOv5's want colours normalised by mean"
        " and deviation, which Sluice does not do.",
    )


def _is_yolox(reading: Reading, hw: tuple[int, int], metadata: Metadata, run: Trial) -> bool:
    """Tell YOLOX from YOLOv6, whose objectness is 1, and from Ultralytics, who write metadata."""
    if reading.layout is Layout.GRID:
        return True
    if any((metadata.task, metadata.names, metadata.stride, metadata.head)):
        return False
    name = reading.outputs[0].name
    if outputs.one_anchor_grid(reading, hw) != YOLOX_STRIDES or name == _ULTRALYTICS_OUTPUT:
        return False
    return not trial.holds_one_objectness(run.outputs[name])
