"""A client of one Triton: descriptions of models, slots, and inferences."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict

from sluice import logs, model_config
from sluice.errors import (
    DeadlineExceeded,
    InferenceFailed,
    SluiceError,
    TritonUnavailable,
    UnknownModel,
)
from sluice.models import Model, is_step
from sluice.tracing import outgoing_headers
from sluice.vision.shared_memory import Region
from sluice.vision.triton.channel import Channel, connect
from sluice.vision.triton.errors import ModelReplaced, VersionNotReady, translated
from sluice.vision.triton.slots import SharedSlot, Slot, WireSlot

log = logs.get(__name__)

# For a version that one of several servers lacks.
_CALLS, _CALLS_BEFORE_QUESTION = 10, 2
_RETIREMENT_S = 60.0  # until a region is closed to which Triton may still write
_UNREGISTER_S = 1.0
_QUESTIONS, _QUESTION_PAUSE_S = 3, 0.1


class Triton:
    """A client of one Triton. Thread-safe; connects on first use.

    A call may take `timeout_s`. A connection that is silent for `silence_s` meanwhile is ended.
    `shared_memory` allows regions where `grpc_url` names this host.
    The names of regions begin with `region_prefix`.
    A model's configuration is cached for `models_ttl_s`.
    """

    def __init__(
        self,
        grpc_url: str,
        *,
        timeout_s: float,
        silence_s: float = 5.0,
        shared_memory: bool = True,
        models_ttl_s: float = 5.0,
        region_prefix: str = "sluice-",
    ) -> None:
        # One of several servers may hang. The next call of the same thread goes to another one.
        patience_s = timeout_s if "://" in grpc_url else 0.0
        self._channel = Channel(partial(connect, grpc_url, silence_s), patience_s=patience_s)
        self._timeout_s = timeout_s
        self._models_ttl_s = models_ttl_s
        self._region_prefix = region_prefix
        self._shared_memory = shared_memory and _same_host(grpc_url)
        self._lock = threading.Lock()
        self._models: dict[str, _Described] = {}
        self._idle: dict[Model, list[SharedSlot]] = {}
        self._retired: list[tuple[float, SharedSlot]] = []

    def model(self, name: str) -> Model:
        """Return the loaded model.

        Raises UnknownModel, UnsupportedModel, TritonUnavailable or DeadlineExceeded.
        """
        cached = self._models.get(name)
        if cached and time.monotonic() - cached.at < self._models_ttl_s:
            return cached.model
        return self._describe(name).model

    @contextmanager
    def slot(self, model: Model, images: int = 1) -> Iterator[Slot]:
        """Reserve the memory of one inference of `images` images, at most `model.room`.

        A slot of one image is reused unless its inference failed.
        """
        shared = self._shared_slot(model, images) if self._shared_memory else None
        if shared is None:
            yield WireSlot(self, model, images)
            return
        try:
            yield shared
        finally:
            self._give_back(model, shared, reusable=images == 1)

    def _give_back(self, model: Model, slot: SharedSlot, *, reusable: bool) -> None:
        with self._lock:
            if slot.awaits_answer:  # after a time-out here, Triton may still write to the region
                self._retired.append((time.monotonic(), slot))
                return
            described = self._models.get(model.name)
            if reusable and (described is None or described.model == model):
                self._idle.setdefault(model, []).append(slot)
                return
        # Replaced while it was in use; or of many images: these would hold too much memory.
        self._close([(time.monotonic(), slot)])

    def register(self, model: Model, region: Region) -> None:
        """Have Triton map the region, for inferences of `model`."""
        self._channel.call(
            model.name,
            lambda client: client.register_system_shared_memory(
                region.name, f"/{region.name}", region.layout.size, client_timeout=self._timeout_s
            ),
        )

    def unregister(self, region: Region) -> None:
        """Have Triton unmap the region, if Triton still knows it."""
        with translated(region.name):
            self._channel.client.unregister_system_shared_memory(
                region.name, client_timeout=_UNREGISTER_S
            )

    def close(self) -> None:
        """Unregister every region, if Triton answers, and close the channel."""
        with self._lock:
            slots = [slot for idle in self._idle.values() for slot in idle]
            slots += [slot for _, slot in self._retired]
            self._idle, self._retired = {}, []
        with suppress(SluiceError):
            for slot in slots:
                slot.close()
        self._channel.close()

    def _shared_slot(self, model: Model, images: int) -> SharedSlot | None:
        with self._lock:
            if images == 1 and (idle := self._idle.get(model)):
                return idle.pop()
            due = [entry for entry in self._retired if time.monotonic() - entry[0] > _RETIREMENT_S]
            self._retired = [entry for entry in self._retired if entry not in due]
        self._close(due)
        try:
            return SharedSlot(self, model, self._region_prefix, images)
        except (TritonUnavailable, DeadlineExceeded):
            raise
        except (SluiceError, OSError) as error:
            log.warning(
                "shared_memory_off",
                "shared memory with Triton does not work, and tensors go over gRPC",
                error=error,
            )
            self._shared_memory = False
            return None

    def _close(self, retired: Sequence[tuple[float, SharedSlot]]) -> None:
        """Close slots. If Triton does not answer, the rest is retired again."""
        for number, (_, slot) in enumerate(retired):
            try:
                slot.close()
            except SluiceError as error:
                log.debug("region_kept", "a region was not unregistered", error=error)
                with self._lock:
                    self._retired += retired[number:]
                return

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
        """Return the configuration. The question may be asked again, since it costs nothing.

        A server that stops, or still loads, is not the last word. After an idle time, the first
        question may be the one that finds a connection dead.
        """
        for _ in range(_QUESTIONS - 1):
            try:
                return self._ask_for_configuration(name)
            except TritonUnavailable:
                time.sleep(_QUESTION_PAUSE_S)  # a dead connection may meet a question at once again
        return self._ask_for_configuration(name)

    def _ask_for_configuration(self, name: str) -> Any:
        return self._channel.call(
            name,
            lambda client: client.get_model_config(name, client_timeout=self._timeout_s).config,
        )

    def infer(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        """Run the version that `model` describes. Raises ModelReplaced where there is another.

        Callers infer by a slot. Inputs and outputs are in tritonclient's terms.
        """
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
            except (UnknownModel, VersionNotReady):
                if number == _CALLS_BEFORE_QUESTION:
                    with suppress(VersionNotReady):  # said by a server that stops
                        self._check_not_replaced(model)
        self._check_not_replaced(model)
        raise TritonUnavailable(
            f"version {model.version or 'any'} of model {model.name!r} is not loaded at the moment"
        )

    def _check_not_replaced(self, model: Model) -> None:
        try:
            replaced = self._describe(model.name).model != model
        except (UnknownModel, VersionNotReady):
            if not is_step(model.name):
                raise
            replaced = True  # the steps of an ensemble's version go with it
        if replaced:
            raise ModelReplaced(f"model {model.name!r} was replaced")

    def _call(self, model: Model, inputs: list[Any], outputs: list[Any]) -> Any:
        return self._channel.call(
            model.name,
            lambda client: client.infer(
                model.name,
                inputs,
                model_version=model.version,
                outputs=outputs,
                headers=outgoing_headers(),
                client_timeout=self._timeout_s,
            ),
        )


class _Described(NamedTuple):
    """A model's description, and the configuration that it was read from."""

    at: float
    """The time at which Triton answered, by the monotonic clock."""
    digest: bytes
    """The configuration, serialized."""
    model: Model


def _same_host(grpc_url: str) -> bool:
    return grpc_url.rpartition(":")[0] in {"localhost", "127.0.0.1", "[::1]"}
