"""The memory of one inference: in the gRPC messages, or shared with Triton."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient
from tritonclient.utils import triton_to_np_dtype

from sluice.models import Layout, Model, Tensor
from sluice.vision.shared_memory import Region, RegionLayout
from sluice.vision.triton.errors import RegionLost

Outputs = Mapping[str, npt.NDArray[Any]]
"""The outputs of one image by name, without the batch axis."""


class Slot(Protocol):
    """The memory of one inference: fill `inputs`, then call `infer_all`."""

    inputs: Sequence[npt.NDArray[Any]]
    """A canvas for each image, without a batch axis; the model's dtype and dims."""

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        """Return the outputs of each image. Valid until the slot is released.

        By default these are the model's `wanted_outputs`.

        Raises ModelReplaced, TritonUnavailable, DeadlineExceeded, UnknownModel or InferenceFailed.
        """
        ...

    @property
    def input(self) -> npt.NDArray[Any]:
        """The canvas of a single image."""
        return self.inputs[0]

    def infer(self, outputs: Sequence[Tensor] | None = None) -> Outputs:
        """Return the outputs of a single image. See `infer_all`."""
        return self.infer_all(outputs)[0]


class Server(Protocol):
    """The calls of one Triton that slots make. Each raises the translated errors of Triton."""

    def infer(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        """Run the version that `model` describes. Raises ModelReplaced where there is another."""

    def register(self, model: Model, region: Region) -> None:
        """Have Triton map the region, for inferences of `model`."""

    def unregister(self, region: Region) -> None:
        """Have Triton unmap the region, if Triton still knows it."""


class WireSlot(Slot):
    """A slot whose tensors travel as bytes in the gRPC messages."""

    def __init__(self, server: Server, model: Model, images: int = 1) -> None:
        self._server = server
        self._model = model
        self._shape = (*model.leading_of(images), *model.input_dims)
        self._array = np.zeros(self._shape, _dtype(model.input))
        self.inputs = _by_image(model, self._array, images)

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        wanted = self._model.wanted_outputs if outputs is None else outputs
        tensor = grpcclient.InferInput(
            self._model.input.name, list(self._shape), self._model.input.dtype
        )
        tensor.set_data_from_numpy(self._array)
        requested = [grpcclient.InferRequestedOutput(output.name) for output in wanted]
        answer = self._server.infer(self._model, [tensor], requested)
        arrays = {output.name: answer.as_numpy(output.name) for output in wanted}
        return _split(self._model, arrays, len(self.inputs))


class SharedSlot(Slot):
    """A slot whose tensors lie in a region. Outputs of unknown size travel as bytes."""

    inputs: Sequence[npt.NDArray[Any]]
    _region: Region

    def __init__(self, server: Server, model: Model, region_prefix: str, images: int = 1) -> None:
        self._server = server
        self._model = model
        self._region_prefix = region_prefix
        self._images = images
        self.awaits_answer = False
        """The last inference has failed, and Triton may still write its answer."""
        tensors = {model.input: model.input_dims}
        tensors |= {output: output.dims for output in model.wanted_outputs}
        self._layout = RegionLayout(
            {
                tensor.name: ((*model.leading_of(images), *dims), _dtype(tensor))
                for tensor, dims in tensors.items()
                if min(dims) > 0
            }
        )
        self._open()

    def infer_all(self, outputs: Sequence[Tensor] | None = None) -> Sequence[Outputs]:
        wanted = self._model.wanted_outputs if outputs is None else outputs
        self.awaits_answer = True
        try:
            answer = self._server.infer(self._model, *self._request(wanted))
        except RegionLost:  # Triton has restarted: repeat with the same bytes in a new region
            lost = self._region
            self._open()
            self._region.copy_from(lost)
            answer = self._server.infer(self._model, *self._request(wanted))
        self.awaits_answer = False
        arrays = {
            output.name: self._region.view(output.name)
            if output.name in self._layout.places
            else answer.as_numpy(output.name)
            for output in wanted
        }
        return _split(self._model, arrays, self._images)

    def close(self) -> None:
        """Have Triton unmap the region. Raises the translated errors of Triton."""
        self._server.unregister(self._region)

    def _open(self) -> None:
        """Create a region and register it. Raises OSError, or the translated error of Triton."""
        self._region = region = Region(self._layout, self._region_prefix)
        try:
            self._server.register(self._model, region)
        finally:
            region.unlink()
        canvases = region.view(self._model.input.name)
        self.inputs = _by_image(self._model, canvases, self._images)

    def _request(self, wanted: Sequence[Tensor]) -> tuple[list[Any], list[Any]]:
        """Return the input and the requested outputs, in tritonclient's terms."""
        places, name = self._layout.places, self._region.name
        place = places[self._model.input.name]
        tensor = grpcclient.InferInput(
            self._model.input.name, list(place.shape), self._model.input.dtype
        )
        tensor.set_shared_memory(name, place.size, place.offset)
        outputs = []
        for output in wanted:
            requested = grpcclient.InferRequestedOutput(output.name)
            if output.name in places:
                place = places[output.name]
                requested.set_shared_memory(name, place.size, place.offset)
            outputs.append(requested)
        return [tensor], outputs


def _by_image(model: Model, array: npt.NDArray[Any], images: int) -> list[npt.NDArray[Any]]:
    """Return the part of each image. A fixed batch may have room for more, which stays as it is."""
    return [array[image] for image in range(images)] if model.leading_of(images) else [array]


def _split(model: Model, arrays: Outputs, images: int) -> list[Outputs]:
    if model.layout is Layout.ROWS:
        return [
            {name: _rows_of(array, image) for name, array in arrays.items()}
            for image in range(images)
        ]
    parts = {name: _by_image(model, array, images) for name, array in arrays.items()}
    return [{name: part[image] for name, part in parts.items()} for image in range(images)]


def _rows_of(array: npt.NDArray[Any], image: int) -> npt.NDArray[Any]:
    """Return the rows of one image, as if it were the first of the batch."""
    if image == 0:
        return array
    rows: npt.NDArray[Any] = array[array[:, 0] == image].copy()
    rows[:, 0] = 0
    return rows


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(triton_to_np_dtype(tensor.dtype))
    return dtype
