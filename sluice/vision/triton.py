"""Inference on Triton over gRPC. The only file that imports tritonclient, and the one where its errors become ours.

Where Triton runs on this host the tensors go through system shared memory: a float32 image of 640 x 640 took 45 ms a call as
bytes, 20 ms so. A region has a name in /dev/shm only until Triton has it open: whoever is killed later leaves nothing behind.
"""

import logging
import math
import mmap
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from sluice.errors import (
    DeadlineExceeded,
    InferenceFailed,
    SluiceError,
    TritonUnavailable,
    UnknownModel,
)
from sluice.models import Model, Tensor

log = logging.getLogger(__name__)

_CHANNEL: list[tuple[str, int | str]] = [
    (
        "grpc.max_reconnect_backoff_ms",
        1000,
    ),  # the default lets a worker sit out two minutes after Triton is back
    (
        "grpc.dns_min_time_between_resolutions_ms",
        5000,
    ),  # of 30 s: that long the addresses of pods that are gone would be tried
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_ALIGNMENT = 64  # bytes; a cache line, and enough for any vector instruction
_RETIREMENT_S = 60.0


class Slot(Protocol):
    """Room for one inference: fill `input` (no batch axis, the model's dtype and dims), then `infer`."""

    input: npt.NDArray[Any]

    def infer(self) -> Mapping[str, npt.NDArray[Any]]:
        """The outputs by name, without the batch axis; valid until the slot is given back.

        Raises TritonUnavailable, DeadlineExceeded, UnknownModel or InferenceFailed.
        """


class _RegionLost(TritonUnavailable):
    """Triton does not know the region: it has restarted since the region was registered."""


@dataclass(frozen=True)
class _Place:
    """Where in a region a tensor lies, in bytes."""

    tensor: Tensor
    shape: tuple[int, ...]
    offset: int
    size: int


class Triton:
    """Thread-safe; one lazy channel per process. `close` gives Triton's mappings back."""

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
        if (
            "://" in grpc_url
        ):  # dns:///service: one connection to each address, not all calls down the first
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
        """What the loaded model says of itself. Raises UnknownModel, UnsupportedModel, TritonUnavailable, DeadlineExceeded."""
        known = self._models.get(name)
        if known and time.monotonic() - known[0] < self._models_ttl_s:
            return known[1]
        with _translated(name):
            answer = self._client.get_model_config(
                name, as_json=True, client_timeout=self._timeout_s
            )
        model = Model.from_config(answer["config"])
        with self._lock:
            self._models[name] = (time.monotonic(), model)
            if (
                known and known[1] != model
            ):  # another version: the old one's regions have other sizes
                self._retired += [(time.monotonic(), slot) for slot in self._idle.pop(known[1], [])]
        return model

    @contextmanager
    def slot(self, model: Model) -> Iterator[Slot]:
        """Room for one inference of `model`; kept for the next one unless this one failed."""
        shared = self._shared_slot(model) if self._shared_memory else None
        if shared is None:
            yield _WireSlot(self, model)
            return
        try:
            yield shared
        except BaseException:
            with self._lock:  # Triton may still write the answer to a request that timed out here: let it, for a while
                self._retired.append((time.monotonic(), shared))
            raise
        with self._lock:
            self._idle.setdefault(model, []).append(shared)

    def close(self) -> None:
        with self._lock:
            slots = [slot for idle in self._idle.values() for slot in idle] + [
                slot for _, slot in self._retired
            ]
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
                "shared memory with Triton does not work (%s); tensors go over gRPC from now on",
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
    """The tensors travel as bytes in the gRPC messages."""

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
    """The tensors lie in a region that this process and Triton have mapped. Outputs of unknown size travel as bytes."""

    input: npt.NDArray[Any]

    def __init__(self, triton: Triton, model: Model) -> None:
        self._triton = triton
        self._model = model
        self._places: dict[str, _Place] = {}
        self._size = 0
        for tensor, dims in (
            (model.input, _input_dims(model)),
            *((output, output.dims) for output in model.outputs),
        ):
            if min(dims) > 0:
                shape = _batch_of_one(model, dims)
                size = math.prod(shape) * _dtype(tensor).itemsize
                self._places[tensor.name] = _Place(tensor, shape, self._size, size)
                self._size += -(-size // _ALIGNMENT) * _ALIGNMENT
        self._open()

    def infer(self) -> Mapping[str, npt.NDArray[Any]]:
        try:
            answer = self._triton._infer(self._model, *self._request())
        except _RegionLost:  # Triton has restarted since: give it the same bytes in a new region
            before = self._map
            self._open()
            self._map[:] = before[:]
            answer = self._triton._infer(self._model, *self._request())
        return {
            output.name: _without_batch(
                self._model,
                self._view(output) if output.name in self._places else answer.as_numpy(output.name),
            )
            for output in self._model.outputs
        }

    def close(self) -> None:
        """Tell Triton to let the region go; this process's mapping ends with its last array."""
        try:
            self._triton._client.unregister_system_shared_memory(self._name, client_timeout=1.0)
        except InferenceServerException as error:
            log.debug(
                "region %s was not unregistered: %s", self._name, error
            )  # Triton has restarted, or is away

    def _open(self) -> None:
        """Make a region that Triton has open too, and no name for it. Raises OSError, or what Triton answers."""
        self._name = f"{self._triton._region_prefix}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        path = Path("/dev/shm", self._name)  # noqa: S108  # where shm_open(3) keeps them
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.posix_fallocate(
                descriptor, 0, self._size
            )  # a full /dev/shm is an error here, not a SIGBUS at the first write
            self._map = mmap.mmap(descriptor, self._size)
            with _translated(self._model.name):
                self._triton._client.register_system_shared_memory(
                    self._name, f"/{self._name}", self._size, client_timeout=self._triton._timeout_s
                )
        finally:
            os.close(descriptor)
            path.unlink()
        self.input = self._view(self._model.input).reshape(_input_dims(self._model))

    def _request(self) -> tuple[list[Any], list[Any]]:
        place = self._places[self._model.input.name]
        tensor = grpcclient.InferInput(
            self._model.input.name, list(place.shape), self._model.input.dtype
        )
        tensor.set_shared_memory(self._name, place.size, place.offset)
        outputs = []
        for output in self._model.outputs:
            requested = grpcclient.InferRequestedOutput(output.name)
            if found := self._places.get(output.name):
                requested.set_shared_memory(self._name, found.size, found.offset)
            outputs.append(requested)
        return [tensor], outputs

    def _view(self, tensor: Tensor) -> npt.NDArray[Any]:
        place = self._places[tensor.name]
        return np.ndarray(place.shape, _dtype(tensor), self._map, place.offset)


def _same_host(grpc_url: str) -> bool:
    return grpc_url.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}


def _input_dims(model: Model) -> tuple[int, ...]:
    """The input's dims with the model's size where the graph leaves height and width open."""
    height, width = model.imgsz
    return (height, width, 3) if model.channels_last else (3, height, width)


def _batch_of_one(model: Model, dims: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *dims) if model.batched else dims


def _without_batch(model: Model, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[0] if model.batched else array


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(triton_to_np_dtype(tensor.dtype))
    return found


@contextmanager
def _translated(model: str) -> Iterator[None]:
    """Raises our error for what tritonclient raises inside."""
    try:
        yield
    except InferenceServerException as error:
        status, said = str(error.status()), str(error.message())
        if "unable to find system shared memory region" in said.lower():
            raise _RegionLost("Triton has restarted") from error
        if (
            "has no available versions" in said.lower()
        ):  # it knows the model, and loads it, or unloads it since it is about to end
            raise TritonUnavailable(f"model {model!r} is not loaded at the moment") from error
        if "unknown model" in said.lower() or status.endswith("NOT_FOUND"):
            raise UnknownModel(f"model {model!r} is not loaded") from error
        if status.endswith("UNAVAILABLE") or status.endswith("CANCELLED"):
            raise TritonUnavailable("Triton is unavailable") from error
        if status.endswith("DEADLINE_EXCEEDED"):
            raise DeadlineExceeded("Triton did not answer in time") from error
        raise InferenceFailed(f"model {model!r} failed: {said}") from error
