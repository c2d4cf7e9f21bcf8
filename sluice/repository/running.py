"""Runs a model's graph in ONNX Runtime on test images, to prove that a change keeps its results.

No array here comes from a client. Canvases are (N, height, width, channels) uint8, RGB or grey.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Tensor
from sluice.repository.description import Description
from sluice.repository.onnx_file import GraphTensor, OnnxFile, first_line
from sluice.vision import heads
from sluice.vision.canvas import put
from sluice.vision.heads import Classification, DecodeParameters, Detections

Array = npt.NDArray[Any]
Canvases = npt.NDArray[np.uint8]

_NUMPY = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32}
_BLOCK = 16  # pixels: the side of the patches that make noise look like objects


class Runner:
    """A graph in ONNX Runtime, on the CPU."""

    def __init__(self, file: OnnxFile, *, exact: bool = False) -> None:
        """Raises UnsupportedModel if ONNX Runtime refuses the graph. See OnnxFile.session."""
        self._session = file.session(exact=exact)

    def run(self, description: Description, canvases: Canvases) -> dict[str, Array]:
        """Return the outputs that `description` lists, by name, with their batch axis.

        A graph with a fixed batch of N is run on N canvases. Fewer canvases are filled up with 0.

        Raises UnsupportedModel if the run fails.
        """
        if description.batch > len(canvases):
            rest = description.batch - len(canvases)
            canvases = np.concatenate(
                (canvases, np.zeros_like(canvases, shape=(rest, *canvases.shape[1:])))
            )
        names = [output.name for output in description.outputs]
        feed = {description.input.name: tensor_of(description, canvases)}
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            reason = first_line(error)
            raise UnsupportedModel(f"ONNX Runtime can't run the graph: {reason}") from error


def noise(description: Description, count: int) -> Canvases:
    """Return `count` different canvases of coloured patches, the same ones in every call."""
    random = np.random.default_rng(7)
    height, width = description.imgsz
    coarse = random.integers(
        0, 256, (count, -(-height // _BLOCK), -(-width // _BLOCK), description.channels), np.uint8
    )
    patches: Canvases = coarse.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :height, :width]
    grain = random.integers(0, 64, patches.shape, np.uint8)
    canvases: Canvases = patches // 4 * 3 + grain
    return canvases


def tensor_of(description: Description, canvases: Canvases) -> Array:
    """Return the model's input for `canvases`, as the worker fills it."""
    model = model_of(description)
    tensor = np.empty((len(canvases), *model.input_dims), _NUMPY[model.input.dtype])
    for target, canvas in zip(tensor, canvases, strict=True):
        put(target, canvas, model)
    return tensor


def model_of(description: Description) -> Model:
    """Return the description as the worker has it, when the model is loaded."""

    def tensor(graph_tensor: GraphTensor, *, batch_axis: bool = True) -> Tensor:
        shape = graph_tensor.shape or ()
        return Tensor(graph_tensor.name, graph_tensor.dtype, shape[1:] if batch_axis else shape)

    rows = description.layout is Layout.ROWS
    return Model(
        name="the model",
        task=description.task,
        layout=description.layout,
        names=description.names,
        imgsz=description.imgsz,
        input=tensor(description.input),
        outputs=tuple(tensor(output, batch_axis=not rows) for output in description.outputs),
        batched=description.batch == -1,
        fixed_batch=max(0, description.batch),
        kpt_shape=description.kpt_shape,
        letterbox=description.letterbox,
        channel_order=description.channel_order,
        pixel_max=description.pixel_max,
        anchors=description.anchors or (),
        raw_layout=description.raw_layout,
        raw_output=description.raw_output or "",
    )


def decode(
    description: Description, outputs: Mapping[str, Array], parameters: DecodeParameters
) -> Detections | Classification:
    """Return the detections or classes of the first canvas, in network pixels.

    Candidates are read first, and the raw output if they don't suffice, as the worker does.

    Raises UnsupportedModel if the outputs contradict the description.
    """
    model = model_of(description)
    rows = description.layout is Layout.ROWS
    first = {name: array if rows else array[0] for name, array in outputs.items()}
    view = heads.fit(model, description.imgsz)
    return heads.decode_fully(model, first, parameters, view, lambda _: first)
