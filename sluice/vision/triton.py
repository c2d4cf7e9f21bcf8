"""Inference on Triton over gRPC. The only importer of tritonclient and translator of its errors.

With a Triton on this host, tensors lie in system shared memory; see `shared_memory.py`.
With any other, tensors travel as bytes in the gRPC messages.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from sluice import model_config
from sluice.errors import (
    DeadlineExceeded,
    InferenceFailed,
    SluiceError,
    TritonUnavailable,
    UnknownModel,
)
from sluice.models import Model, Tensor
from sluice.vision.shared_memory import Region, RegionLayout

log = logging.getLogger(__name__)

_CHANNEL: list[tuple[str, int | str]] = [
    # By default a worker may wait two minutes after Triton is back.
    ("grpc.max_reconnect_backoff_ms", 1000),
    # By default the addresses of pods that are gone would be tried for 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_RETIREMENT_S = 60.0  # until a region is closed to which Triton may still write


class Slot(Protocol):
    """The memory of one inference: fill `input`, then call `infer`."""

    input: npt.NDArray[Any]
    """No batch axis; the model's dtype and dims."""

    def infer(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the outputs by name, without the batch axis. Valid until the slot is released.

        Raises TritonUnavailable, DeadlineExceeded, UnknownModel or InferenceFailed.
        """


class _RegionLost(TritonUnavailable):
    """Triton does not know the region: Triton has restarted since the registration."""


class Triton:
    """A client of one Triton. Thread-safe; connects on first use.

    `shared_memory` allows regions where `grpc_url` names this host.
    The names of regions begin with `region_prefix`.
    A model's configuration is cached for `models_ttl_s`.
    """

    def __init__(
        self,
        grpc_url: str,
        *,
        timeout_s: float,
        shared_memory: bool = True,
        models_ttl_s: float = 5.0,
        region_prefix: str = "sluice-",
    ) -> None:
        channel = list(_CHANNEL)
        if "://" in grpc_url:  # dns:///service: a connection to each address, instead of the first
            channel.append(("grpc.lb_policy_name", "round_robin"))
        self._client = grpcclient.InferenceServerClient(grpc_url, channel_args=channel)
        self._timeout_s = timeout_s
        self._models_ttl_s = models_ttl_s
        self._region_prefix = region_prefix
        self._shared_memory = shared_memory and _same_host(grpc_url)
        self._lock = threading.Lock()
        self._models: dict[str, tuple[float, Model]] = {}
        self._idle: dict[Model, list[_SharedSlot]] = {}
        self._retired: list[tuple[float, _SharedSlot]] = []

    def model(self, name: str) -> Model:
        """Return the loaded model.

        Raises UnknownModel, UnsupportedModel, TritonUnavailable or DeadlineExceeded.
        """
        cached = self._models.get(name)
        if cached and time.monotonic() - cached[0] < self._models_ttl_s:
            return cached[1]
        with _translated(name):
            answer = self._client.get_model_config(
                name, as_json=True, client_timeout=self._timeout_s
            )
        model = model_config.read(answer["config"])
        with self._lock:
            now = time.monotonic()
            self._models[name] = (now, model)
            if cached and cached[1] != model:  # a new version, with other sizes
                self._retired += [(now, slot) for slot in self._idle.pop(cached[1], [])]
        return model

    @contextmanager
    def slot(self, model: Model) -> Iterator[Slot]:
        """Reserve the memory of one inference. A slot is reused unless its inference failed."""
        shared = self._shared_slot(model) if self._shared_memory else None
        if shared is None:
            yield _WireSlot(self, model)
            return
        try:
            yield shared
        except BaseException:
            # After a time-out here, Triton may still write its answer to the region.
            with self._lock:
                self._retired.append((time.monotonic(), shared))
            raise
        with self._lock:
            self._idle.setdefault(model, []).append(shared)

    def close(self) -> None:
        """Unregister every region and close the channel."""
        with self._lock:
            slots = [slot for idle in self._idle.values() for slot in idle]
            slots += [slot for _, slot in self._retired]
            self._idle, self._retired = {}, []
        for slot in slots:
            slot.close()
        self._client.close()

    def _shared_slot(self, model: Model) -> "_SharedSlot | None":
        with self._lock:
            if idle := self._idle.get(model):
                return idle.pop()
            old = [
                slot for since, slot in self._retired if time.monotonic() - since > _RETIREMENT_S
            ]
            self._retired = [entry for entry in self._retired if entry[1] not in old]
        for slot in old:
            slot.close()
        try:
            return _SharedSlot(self, model)
        except (TritonUnavailable, DeadlineExceeded):
            raise
        except (SluiceError, OSError) as error:
            log.warning(
                "shared memory with Triton does not work; tensors go over gRPC from now on: %s",
                error,
            )
            self._shared_memory = False
            return None

    def _infer(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        with _translated(model.name):
            return self._client.infer(
                model.name, inputs, outputs=outputs, client_timeout=self._timeout_s
            )


class _WireSlot:
    """A slot whose tensors travel as bytes in the gRPC messages."""

    def __init__(self, triton: Triton, model: Model) -> None:
        self._triton = triton
        self._model = model
        self._shape = _batch_of_one(model, _input_dims(model))
        self._array = np.empty(self._shape, _dtype(model.input))
        self.input = self._array.reshape(_input_dims(model))

    def infer(self) -> Mapping[str, npt.NDArray[Any]]:
        tensor = grpcclient.InferInput(
            self._model.input.name, list(self._shape), self._model.input.dtype
        )
        tensor.set_data_from_numpy(self._array)
        outputs = [grpcclient.InferRequestedOutput(output.name) for output in self._model.outputs]
        answer = self._triton._infer(self._model, [tensor], outputs)
        return {
            output.name: _without_batch(self._model, answer.as_numpy(output.name))
            for output in self._model.outputs
        }


class _SharedSlot:
    """A slot whose tensors lie in a region. Outputs of unknown size travel as bytes."""

    input: npt.NDArray[Any]
    _region: Region

    def __init__(self, triton: Triton, model: Model) -> None:
        self._triton = triton
        self._model = model
        tensors = {model.input: _input_dims(model)}
        tensors |= {output: output.dims for output in model.outputs}
        self._layout = RegionLayout(
            {
                tensor.name: (_batch_of_one(model, dims), _dtype(tensor))
                for tensor, dims in tensors.items()
                if min(dims) > 0
            }
        )
        self._open()

    def infer(self) -> Mapping[str, npt.NDArray[Any]]:
        try:
            answer = self._triton._infer(self._model, *self._request())
        except _RegionLost:  # Triton has restarted: repeat with the same bytes in a new region
            lost = self._region
            self._open()
            self._region.copy_from(lost)
            answer = self._triton._infer(self._model, *self._request())
        return {
            output.name: _without_batch(
                self._model,
                self._region.view(output.name)
                if output.name in self._layout.places
                else answer.as_numpy(output.name),
            )
            for output in self._model.outputs
        }

    def close(self) -> None:
        """Tell Triton to unmap the region."""
        name = self._region.name
        try:
            self._triton._client.unregister_system_shared_memory(name, client_timeout=1.0)
        except InferenceServerException as error:  # Triton has restarted, or is unavailable
            log.debug("region %s was not unregistered: %s", name, error)

    def _open(self) -> None:
        """Create a region and register it. Raises OSError, or the translated error of Triton."""
        self._region = region = Region(self._layout, self._triton._region_prefix)
        try:
            with _translated(self._model.name):
                self._triton._client.register_system_shared_memory(
                    region.name,
                    f"/{region.name}",
                    self._layout.size,
                    client_timeout=self._triton._timeout_s,
                )
        finally:
            region.unlink()
        self.input = region.view(self._model.input.name).reshape(_input_dims(self._model))

    def _request(self) -> tuple[list[Any], list[Any]]:
        """Return the input and the requested outputs, in tritonclient's terms."""
        places, name = self._layout.places, self._region.name
        place = places[self._model.input.name]
        tensor = grpcclient.InferInput(
            self._model.input.name, list(place.shape), self._model.input.dtype
        )
        tensor.set_shared_memory(name, place.size, place.offset)
        outputs = []
        for output in self._model.outputs:
            requested = grpcclient.InferRequestedOutput(output.name)
            if output.name in places:
                place = places[output.name]
                requested.set_shared_memory(name, place.size, place.offset)
            outputs.append(requested)
        return [tensor], outputs


def _same_host(grpc_url: str) -> bool:
    return grpc_url.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}


def _input_dims(model: Model) -> tuple[int, ...]:
    """Return the input's dims, with the model's size where the graph leaves the sides open."""
    height, width = model.imgsz
    return (height, width, 3) if model.channels_last else (3, height, width)


def _batch_of_one(model: Model, dims: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *dims) if model.batched else dims


def _without_batch(model: Model, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[0] if model.batched else array


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(triton_to_np_dtype(tensor.dtype))
    return dtype


@contextmanager
def _translated(model: str) -> Iterator[None]:
    """Raises an error of Sluice for each error that tritonclient raises inside."""
    try:
        yield
    except InferenceServerException as error:
        status, message = str(error.status()), str(error.message())
        reason = message.lower()
        if "unable to find system shared memory region" in reason:
            raise _RegionLost("Triton has restarted") from error
        if "has no available versions" in reason:  # the model is loading, or Triton is stopping
            raise TritonUnavailable(f"model {model!r} is not loaded at the moment") from error
        if "unknown model" in reason or status.endswith("NOT_FOUND"):
            raise UnknownModel(f"model {model!r} is not loaded") from error
        if status.endswith(("UNAVAILABLE", "CANCELLED")):
            raise TritonUnavailable("Triton is unavailable") from error
        if status.endswith("DEADLINE_EXCEEDED"):
            raise DeadlineExceeded("Triton did not answer in time") from error
        raise InferenceFailed(f"model {model!r} failed: {message}") from error
