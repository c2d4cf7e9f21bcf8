"""Sliced inference: a large image in overlapping tiles, a few of them in one inference."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sluice.models import Model
from sluice.slicing import Slicing
from sluice.tiles import Tile, cut
from sluice.vision import heads
from sluice.vision.canvas import fill
from sluice.vision.heads import Classification, DecodeParameters, Detections
from sluice.vision.merging import Part, merge
from sluice.vision.triton.slots import Outputs, Slot
from worker.stages import Stages

Pixels = npt.NDArray[np.uint8]


class Slots(Protocol):
    """The part of the engine that is needed here."""

    def slot(self, model: Model, images: int = 1) -> AbstractContextManager[Slot]:
        """Reserve the memory of one inference of `images` images, at most `model.room`."""


def run(
    slots: Slots,
    model: Model,
    image: Pixels,
    parameters: DecodeParameters,
    slicing: Slicing,
    stages: Stages,
    max_batch: int,
) -> Detections:
    """Return the detections in an upright image (height, width, 3) uint8 RGB, in its pixels.

    At most `max_batch` tiles are in one inference. Before each, `stages.confirm` says whether the
    attempt goes on. Raises what a slot raises, and UnsupportedModel.
    """
    height, width = image.shape[:2]
    tiles = cut((height, width), slicing.size or model.imgsz, slicing.overlap)
    if slicing.whole and len(tiles) > 1:
        tiles.append(Tile(0, 0, height, width))
    parts: list[Part] = []
    for size, batches in _batches(tiles, min(max_batch, model.room)):
        with slots.slot(model, size) as slot:
            for batch in batches:
                stages.confirm()
                parts += _infer(slot, model, image, batch, parameters, stages)
    stages.tiles = len(parts)
    with stages("merge"):
        return merge(parts, (height, width), parameters, slicing)


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[tuple[int, list[Sequence[Tile]]]]:
    """Yield the full batches, and then the rest, each with its size."""
    whole = len(tiles) // size * size
    if whole:
        yield size, [tiles[start : start + size] for start in range(0, whole, size)]
    if rest := tiles[whole:]:
        yield len(rest), [rest]


def _infer(
    slot: Slot,
    model: Model,
    image: Pixels,
    tiles: Sequence[Tile],
    parameters: DecodeParameters,
    stages: Stages,
) -> list[Part]:
    views = [heads.fit(model, (tile.height, tile.width)) for tile in tiles]
    with stages("letterbox"):
        for canvas, view, tile in zip(slot.inputs, views, tiles, strict=True):
            rows = image[tile.top : tile.top + tile.height]
            fill(canvas, view, rows[:, tile.left : tile.left + tile.width], model)
    with stages("inference"):
        outputs = slot.infer_all()
    with stages("postprocess"):
        results = _decode(model, outputs, parameters, views)
        if model.raw and any(
            heads.needs_raw(model, output, parameters, result)
            for output, result in zip(outputs, results, strict=True)
        ):
            results = _decode(model.raw, slot.infer_all(model.raw.outputs), parameters, views)
    return [Part(tile, result) for tile, result in zip(tiles, results, strict=True)]


def _decode(
    model: Model,
    outputs: Sequence[Outputs],
    parameters: DecodeParameters,
    views: Sequence[heads.View],
) -> list[Detections]:
    results = []
    for output, view in zip(outputs, views, strict=True):
        result = heads.decode(model, output, parameters, view)
        assert not isinstance(result, Classification)  # refused before: see `check_task`
        results.append(result)
    return results
