"""One run of a graph on noise, for what its signature does not say: sizes and kinds of numbers."""

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.errors import UnsupportedModel
from sluice.repository.onnx_file import OnnxFile, first_line

Array = npt.NDArray[Any]

_NUMPY = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32}


class Trial:
    """A run of `file` on noise. The graph is loaded at the first look at an output.

    `shape` is that of the tensor that is fed, (N, C, height, width) or (N, height, width, C).
    """

    def __init__(self, file: OnnxFile, shape: tuple[int, int, int, int]) -> None:
        self._file = file
        self._shape = shape

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        """Every output by name. Raises UnsupportedModel if the graph can't be loaded or run."""
        image = self._file.image
        pixels = np.random.default_rng(11).integers(0, 256, self._shape, np.uint8)
        feed = pixels if image.dtype == "UINT8" else (pixels / 255).astype(_NUMPY[image.dtype])
        session = self._file.session()
        names = [tensor.name for tensor in self._file.outputs]
        try:
            arrays = session.run(names, {image.name: feed})
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise UnsupportedModel(
                f"{self._file.path.name} fails on an input of {self._shape}: {first_line(error)};"
                " give --imgsz of the size that the model was exported for, or export it again"
            ) from None
        return dict(zip(names, arrays, strict=True))


def holds_class_ids(array: Array) -> bool:
    """Return whether column 5 of `array` (N, K, 6 or more) holds class ids, not scores.

    Class ids are whole numbers. Rows of zeros pad the result of a graph that found nothing.
    Scores after a sigmoid are neither whole nor zero.
    """
    column = array[..., 5].astype(np.float32)
    return bool((column == np.floor(column)).all() and (column >= 0).all())


def holds_fractions(array: Array) -> bool:
    """Return whether the boxes of `array` (N, K, 4 or more) are fractions of the canvas.

    A fraction comes from a sigmoid, so that none is above 1. Rows of zeros tell nothing: False.
    """
    boxes = array[..., :4].astype(np.float32)
    return bool(boxes.any() and boxes.min() >= 0 and boxes.max() <= 1)


def holds_offsets(array: Array, strides: tuple[int, ...], hw: tuple[int, int]) -> bool:
    """Return whether the centres of `array` (N, A, 2 or more) are offsets in cells, not pixels.

    `hw` is the input's (height, width) in pixels. A decoded centre lies within a few strides of its
    cell. An offset lies within a few units of 0. The median tells which of the two is nearer.
    """
    centres, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-hw[0] // stride), : -(-hw[1] // stride)]
        centres.append(np.column_stack((x.ravel(), y.ravel())) * stride + stride / 2)
        sizes.append(np.full(x.size, stride))
    cells, stride_of = np.concatenate(centres), np.concatenate(sizes)[:, None]
    xy = array[0, :, :2].astype(np.float64)
    return bool(np.median(np.abs(xy)) < np.median(np.abs(xy - cells) / stride_of))


def holds_one_objectness(array: Array) -> bool:
    """Return whether the objectness of `array` (N, A, 5 or more) is 1 in every row."""
    return bool((array[..., 4] == 1).all())


def holds_logits(array: Array) -> bool:
    """Return whether `array` (N, C) holds logits, not probabilities."""
    scores = array.astype(np.float32)
    return bool(scores.min() < 0 or np.abs(scores.sum(axis=-1) - 1).max() > 0.01)


def is_pyramid(sides: list[tuple[int, int]], hw: tuple[int, int]) -> bool:
    """Return whether maps of these (height, width) are those of strides that double, from 4 on."""
    strides = [round(hw[0] / height) for height, _ in sides]
    return all(
        -(-hw[0] // stride) == height and -(-hw[1] // stride) == width and stride >= 4
        for stride, (height, width) in zip(strides, sides, strict=True)
    ) and all(b == 2 * a for a, b in pairwise(strides))
