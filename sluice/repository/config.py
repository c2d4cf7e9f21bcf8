"""A model's `config.pbtxt`: written by `sluice models add`, and read from text.

The form is the text of Triton's `ModelConfig`:
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf import json_format, text_format

from sluice import model_config
from sluice.errors import UnsupportedModel
from sluice.models import Model
from sluice.repository.description import Description
from sluice.repository.onnx_file import GraphTensor

HEAD = "# Written by `sluice models`, which replaces this file. Changes by hand are lost.\n"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Engine(StrEnum):
    """The library that runs a graph on a CPU."""

    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class Precision(StrEnum):
    """The type that a graph is computed in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    """Quantized before it is added; the rest in floats is computed in fp32."""


@dataclass(frozen=True)
class BuildOptions:
    """How Triton runs a model."""

    engine: Engine = Engine.OPENVINO
    precision: Precision = Precision.FP32
    tensorrt: bool = False
    """On a GPU, TensorRT in fp16."""
    max_batch: int = 8
    """The most images of one run, where the graph's batch axis is open."""
    source: str = ""
    """Tells the same file, added with the same options, from another one."""


@dataclass(frozen=True)
class SavedConfig:
    """The content of a `config.pbtxt`, as far as Sluice uses it."""

    version: int | None
    """The version that it describes; None where it leaves that to Triton."""
    pinned: bool
    """True where a policy says which versions Triton serves."""
    source: str
    """The same as in BuildOptions; empty in a configuration that a person wrote."""
    model: Model | UnsupportedModel
    """The model that it describes, or why Sluice can't serve it."""
    retired: bool


def render(name: str, version: int, description: Description, options: BuildOptions) -> str:
    """The `config.pbtxt` that makes `version` of the model `name` live."""
    batched = description.batch == -1
    return "".join(
        [
            HEAD,
            f"name: {quoted(name)}\n",
            'backend: "onnxruntime"\n',
            f"max_batch_size: {options.max_batch if batched else 0}\n",
            _tensors("input", [description.input], batched),
            _tensors("output", description.outputs, batched),
            f"version_policy {{ specific {{ versions: [ {version} ] }} }}\n",
            # A request waits for no other one; those that arrive during a run are joined.
            "dynamic_batching { max_queue_delay_microseconds: 0 }\n" if batched else "",
            "instance_group [ { count: 1 } ]\n",
            _accelerators(options),
            *(parameter(*item) for item in parameters(version, description, options)),
        ]
    )


def retired(text: str) -> str:
    """The same configuration for a model that is being removed: the api takes no submissions."""
    return text.rstrip("\n") + "\n" + parameter("sluice.retired", "true")


def pinned(text: str, version: int) -> str:
    """The same configuration, which has no policy for versions yet, for this version alone."""
    return (
        text.rstrip("\n")
        + f"\nversion_policy {{ specific {{ versions: [ {version} ] }} }}\n"
        + parameter("sluice.version", str(version))
    )


def parse(name: str, text: str) -> SavedConfig:
    """Read a `config.pbtxt`. Raises UnsupportedModel for a text that Triton can't read either."""
    config = parsed(text)
    config.setdefault("name", name)
    parameters = {
        key: str(value.get("string_value", ""))
        for key, value in config.get("parameters", {}).items()
    }
    version = parameters.get("sluice.version", "")
    model: Model | UnsupportedModel
    try:
        model = model_config.read(config)
    except UnsupportedModel as error:
        model = error
    return SavedConfig(
        version=int(version) if version.isdecimal() else None,
        pinned="version_policy" in config,
        source=parameters.get("sluice.source", ""),
        model=model,
        retired=parameters.get("sluice.retired") == "true",
    )


def parsed(text: str) -> dict[str, Any]:
    """Return the configuration as JSON has it. Raises UnsupportedModel."""
    # Imported here: gRPC comes with it, which takes a third of a second.
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    try:
        message = text_format.Parse(text, model_config_pb2.ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise UnsupportedModel(f"its config.pbtxt can't be read: {error}") from None
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def parameters(
    version: int, description: Description, options: BuildOptions
) -> Iterator[tuple[str, str]]:
    """Names and values of the parameters that describe a version."""
    yield "sluice.version", str(version)
    yield "sluice.task", description.task
    yield "sluice.layout", description.layout
    yield "sluice.names", json.dumps(description.names, ensure_ascii=False)
    yield "sluice.imgsz", json.dumps(description.imgsz)
    if description.kpt_shape:
        yield "sluice.kpt_shape", json.dumps(description.kpt_shape)
    for key, value, default in (
        ("letterbox", description.letterbox, "centre"),
        ("channel_order", description.channel_order, "rgb"),
        ("pixel_max", str(description.pixel_max), "1"),
    ):
        if value != default:
            yield f"sluice.{key}", value
    if description.anchors:
        yield "sluice.anchors", json.dumps(description.anchors)
    if description.raw_layout and description.raw_output:
        yield "sluice.raw_layout", description.raw_layout
        yield "sluice.raw_output", description.raw_output
    yield "sluice.source", options.source


def _accelerators(options: BuildOptions) -> str:
    entries = ""
    if options.engine is Engine.OPENVINO:
        kind = {Precision.BF16: "BF16", Precision.FP16: "FP16"}.get(options.precision, "FP32")
        entries += _accelerator("cpu", "openvino", {"precision": kind})
    if options.tensorrt:
        entries += _accelerator("gpu", "tensorrt", {"precision_mode": "FP16"})
    return f"optimization {{ execution_accelerators {{\n{entries}}} }}\n" if entries else ""


def _accelerator(processor: str, name: str, parameters: Mapping[str, str]) -> str:
    fields = "".join(
        f" parameters {{ key: {quoted(key)} value: {quoted(value)} }}"
        for key, value in parameters.items()
    )
    return f"  {processor}_execution_accelerator: [ {{ name: {quoted(name)}{fields} }} ]\n"


def _tensors(kind: str, tensors: Iterable[GraphTensor], batched: bool) -> str:
    """Entries for inputs or outputs. With `batched` the batch axis is Triton's, and not in dims."""
    lines = []
    for tensor in tensors:
        shape = tensor.shape or ()
        dims = ", ".join(str(size) for size in (shape[1:] if batched else shape))
        lines.append(
            f"{kind} [ {{ name: {quoted(tensor.name)} data_type: TYPE_{tensor.dtype}"
            f" dims: [ {dims} ] }} ]\n"
        )
    return "".join(lines)


def parameter(key: str, value: str) -> str:
    """An entry of the parameters."""
    return f"parameters {{ key: {quoted(key)} value: {{ string_value: {quoted(value)} }} }}\n"


def quoted(text: str) -> str:
    """A string literal of protobuf's text format; every byte that is not plain is an octal escape.

    Not every reader takes other bytes than ASCII.
    """
    return (
        '"'
        + "".join(
            _ESCAPES.get(character)
            or (
                character
                if " " <= character <= "~"
                else "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "replace"))
            )
            for character in text
        )
        + '"'
    )
