"""Inference on Triton over gRPC. The only importer of tritonclient and translator of its errors.

With a Triton on this host, tensors lie in system shared memory; see `shared_memory.py`.
With any other, tensors travel as bytes in the gRPC messages.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpcclient
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from sluice import model_config
from sluice.errors import (
    DeadlineExceeded,
    InferenceFailed,
    SluiceError,
    TritonUnavailable,
    UnknownModel,
)
from sluice.models import Layout, Model, Tensor
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
# For a version that one of several servers lacks.
_CALLS, _CALLS_BEFORE_QUESTION = 10, 2
_RETIREMENT_S = 60.0  # until a region is closed to which Triton may still write


class Slot(Protocol):
    """The memory of one inference: fill `input`, then call `infer`."""

    input: npt.NDArray[Any]
    """No batch axis; the model's dtype and dims."""

    def infer(self, outputs: Sequence[Tensor] | None = None) -> Mapping[str, npt.NDArray[Any]]:
        """Return outputs by name, without the batch axis. Valid until the slot is released.

        By default these are the model's `wanted_outputs`.

        Raises ModelReplaced, TritonUnavailable, DeadlineExceeded, UnknownModel or InferenceFailed.
        """


class ModelReplaced(TritonUnavailable):
    """Triton runs another version than the one that was described: describe it again, and repeat.

    Outputs of one version are never read by the description of another one.
    """


class _VersionNotReady(TritonUnavailable):
    """The version is loading, or ends because another one is live."""


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
        self._models: dict[str, _Described] = {}
        self._idle: dict[Model, list[_SharedSlot]] = {}
        self._retired: list[tuple[float, _SharedSlot]] = []

    def model(self, name: str) -> Model:
        """Return the loaded model.

        Raises UnknownModel, UnsupportedModel, TritonUnavailable or DeadlineExceeded.
        """
        cached = self._models.get(name)
        if cached and time.monotonic() - cached.at < self._models_ttl_s:
            return cached.model
        return self._describe(name).model

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
            described = self._models.get(model.name)
            if described and described.model != model:  # replaced while the slot was in use
                self._retired.append((time.monotonic(), shared))
            else:
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

    def _describe(self, name: str) -> "_Described":
        """Read the configuration that Triton has now, and remember it."""
        config = self._configuration(name)
        digest = config.SerializeToString(deterministic=True)
        cached = self._models.get(name)
        model = (
            cached.model
            if cached and cached.digest == digest
            else model_config.read(MessageToDict(config, preserving_proto_field_name=True))
        )
        described = _Described(time.monotonic(), digest, model)
        with self._lock:
            self._models[name] = described
            if cached and cached.model != model:  # a new version, with other sizes
                retired = self._idle.pop(cached.model, [])
                self._retired += [(described.at, slot) for slot in retired]
        return described

    def _configuration(self, name: str) -> Any:
        """Return the configuration. A server that stops, or still loads, is not the last word."""
        try:
            return self._ask_for_configuration(name)
        except _VersionNotReady:
            return self._ask_for_configuration(name)

    def _ask_for_configuration(self, name: str) -> Any:
        with _translated(name):
            return self._client.get_model_config(name, client_timeout=self._timeout_s).config

    def _infer(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        """Run the version that `model` describes. Raises ModelReplaced where there is another."""
        try:
            answer = self._call_any_server(model, inputs, outputs)
        except InferenceFailed:
            self._check_not_replaced(model)
            raise
        # Nothing in an answer tells versions of one number apart. `sluice models add` never uses
        # a number again. A person who replaces a model's files by hand may.
        if not model.version:
            self._check_not_replaced(model)
        return answer

    def _call_any_server(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        """Run the version on a server that has it: during a roll-out, not all have.

        Each call goes to the next server, and so does the question for the configuration.
        """
        for number in range(1, _CALLS + 1):
            try:
                return self._call(model, inputs, outputs)
            except (UnknownModel, _VersionNotReady):
                if number == _CALLS_BEFORE_QUESTION:
                    with suppress(_VersionNotReady):  # said by a server that stops
                        self._check_not_replaced(model)
        self._check_not_replaced(model)
        raise TritonUnavailable(
            f"version {model.version or 'any'} of model {model.name!r} is not loaded at the moment"
        )

    def _check_not_replaced(self, model: Model) -> None:
        if self._describe(model.name).model != model:
            raise ModelReplaced(f"model {model.name!r} was replaced")

    def _call(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        with _translated(model.name):
            return self._client.infer(
                model.name,
                inputs,
                model_version=model.version,
                outputs=outputs,
                client_timeout=self._timeout_s,
            )


class _Described(NamedTuple):
    """A model's description, and the configuration that it was read from."""

    at: float
    """The time at which Triton answered, by the monotonic clock."""
    digest: bytes
    """The configuration, serialized."""
    model: Model


class _WireSlot:
    """A slot whose tensors travel as bytes in the gRPC messages."""

    def __init__(self, triton: Triton, model: Model) -> None:
        self._triton = triton
        self._model = model
        self._shape = (*model.leading, *_input_dims(model))
        self._array = np.zeros(self._shape, _dtype(model.input))
        self.input = _without_batch(model, self._array)

    def infer(self, outputs: Sequence[Tensor] | None = None) -> Mapping[str, npt.NDArray[Any]]:
        wanted = self._model.wanted_outputs if outputs is None else outputs
        tensor = grpcclient.InferInput(
            self._model.input.name, list(self._shape), self._model.input.dtype
        )
        tensor.set_data_from_numpy(self._array)
        requested = [grpcclient.InferRequestedOutput(output.name) for output in wanted]
        answer = self._triton._infer(self._model, [tensor], requested)
        return {
            output.name: _of_first_image(self._model, answer.as_numpy(output.name))
            for output in wanted
        }


class _SharedSlot:
    """A slot whose tensors lie in a region. Outputs of unknown size travel as bytes."""

    input: npt.NDArray[Any]
    _region: Region

    def __init__(self, triton: Triton, model: Model) -> None:
        self._triton = triton
        self._model = model
        tensors = {model.input: _input_dims(model)}
        tensors |= {output: output.dims for output in model.wanted_outputs}
        self._layout = RegionLayout(
            {
                tensor.name: ((*model.leading, *dims), _dtype(tensor))
                for tensor, dims in tensors.items()
                if min(dims) > 0
            }
        )
        self._open()

    def infer(self, outputs: Sequence[Tensor] | None = None) -> Mapping[str, npt.NDArray[Any]]:
        wanted = self._model.wanted_outputs if outputs is None else outputs
        try:
            answer = self._triton._infer(self._model, *self._request(wanted))
        except _RegionLost:  # Triton has restarted: repeat with the same bytes in a new region
            lost = self._region
            self._open()
            self._region.copy_from(lost)
            answer = self._triton._infer(self._model, *self._request(wanted))
        return {
            output.name: _of_first_image(
                self._model,
                self._region.view(output.name)
                if output.name in self._layout.places
                else answer.as_numpy(output.name),
            )
            for output in wanted
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
        self.input = _without_batch(self._model, region.view(self._model.input.name))

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


def _same_host(grpc_url: str) -> bool:
    return grpc_url.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}


def _input_dims(model: Model) -> tuple[int, ...]:
    """Return the input's dims, with the model's size where the graph leaves the sides open."""
    if model.channels_last:
        return (*model.imgsz, model.channels)
    return (model.channels, *model.imgsz)


def _without_batch(model: Model, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the part of the first image. A fixed batch has room for more, which stays zero."""
    return array[0] if model.leading else array


def _of_first_image(model: Model, output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return output if model.layout is Layout.ROWS else _without_batch(model, output)


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
        # The model is loading, or Triton is stopping: the version ends first, and is then gone.
        if "is not at ready state" in reason or "has no available versions" in reason:
            raise _VersionNotReady(f"model {model!r} is not loaded at the moment") from error
        if "unknown model" in reason or status.endswith("NOT_FOUND"):
            raise UnknownModel(f"model {model!r} is not loaded") from error
        if status.endswith(("UNAVAILABLE", "CANCELLED")):
            raise TritonUnavailable("Triton is unavailable") from error
        if status.endswith("DEADLINE_EXCEEDED"):
            raise DeadlineExceeded("Triton did not answer in time") from error
        raise InferenceFailed(f"model {model!r} failed: {message}") from error
