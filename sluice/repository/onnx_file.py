"""An ONNX file: its graph, the signature of the graph, and the metadata that the exporter wrote.

The format is ONNX's: https://onnx.ai/onnx/repo-docs/IR.html
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from sluice.errors import UnsupportedModel

MAX_BYTES = 2**31 - 1
"""Protobuf reads no larger message: https://protobuf.dev/programming-guides/proto-limits/"""

DTYPES: dict[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.STRING: "STRING",
}
"""Triton's name of each of ONNX's types."""

IMAGE_DTYPES = ("UINT8", "FP16", "FP32")
_EXPORT = "`yolo export model=MODEL.pt format=onnx`"
# Domains of operators that ONNX Runtime has: its own, ONNX's, and that of its quantizer.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"}

#: The beginnings of files that are often given by mistake, and what to do about each.
_MISTAKES = (
    (b"PK\x03\x04", f"is a PyTorch checkpoint or another zip archive; export it with {_EXPORT}"),
    (b"\x80\x02", f"is a PyTorch checkpoint; export it with {_EXPORT}"),
    (b"<?xml", f"is XML, as OpenVINO's models are; give the ONNX file, or make one with {_EXPORT}"),
    (b"<net", f"is an OpenVINO model; give the ONNX file, or make one with {_EXPORT}"),
    (b"<", "is a web page; download the file itself, not the page about it"),
    (b"version https://git-lfs", "is a pointer of Git LFS; fetch the file with `git lfs pull`"),
    (b"ptrt", f"is a TensorRT engine; give the ONNX file, or make one with {_EXPORT}"),
    (b"ftrt", f"is a TensorRT engine; give the ONNX file, or make one with {_EXPORT}"),
    (b"\x89HDF", "is a Keras model; export it as ONNX"),
    (b"\x1f\x8b", "is compressed; unpack it first"),
    (b"BZh", "is compressed; unpack it first"),
)


@dataclass(frozen=True)
class GraphTensor:
    """One input or output of a graph."""

    name: str
    dtype: str
    """Triton's name of the type, such as UINT8 or FP32."""
    shape: tuple[int, ...] | None
    """With the batch axis; -1 where a side is open. None where the graph does not say."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was read. Weights in external files are not loaded."""

    path: Path
    """The file. External data lies in the same folder."""
    model: onnx.ModelProto = field(repr=False, compare=False)
    inputs: tuple[GraphTensor, ...]
    """The inputs that a caller feeds; initializers that the graph lists as inputs are left out."""
    outputs: tuple[GraphTensor, ...]
    metadata: Mapping[str, str]
    """The exporter's texts by key. `metadata.parse` reads them."""
    opset: int
    """The version of ONNX's own operators."""

    @classmethod
    def from_model(cls, path: Path, model: onnx.ModelProto) -> "OnnxFile":
        """Return `model` with its signature. `path` is the file that it came from."""
        initializers = {tensor.name for tensor in model.graph.initializer}
        initializers |= {tensor.values.name for tensor in model.graph.sparse_initializer}
        versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        return cls(
            path=path,
            model=model,
            inputs=tuple(_tensor(v) for v in model.graph.input if v.name not in initializers),
            outputs=tuple(_tensor(v) for v in model.graph.output),
            metadata={prop.key: prop.value for prop in model.metadata_props},
            opset=max(versions, default=1),
        )

    @property
    def image(self) -> GraphTensor:
        """The only input."""
        (image,) = self.inputs
        return image

    @property
    def operators(self) -> frozenset[str]:
        """The names of all operators, also those in subgraphs and functions."""
        return frozenset(node.op_type for node in _nodes(self.model))

    @property
    def external_files(self) -> tuple[Path, ...]:
        """The files with the weights that are not in the ONNX file itself."""
        places = {ExternalDataInfo(t).location for t in _tensors(self.model) if _external(t)}
        return tuple(self.path.parent / place for place in sorted(places))

    def session(self, *, exact: bool = False) -> onnxruntime.InferenceSession:
        """Load the graph into ONNX Runtime, on the CPU.

        With `exact`, two graphs that compute the same give the same numbers: operators are not
        fused, which would round otherwise.

        Raises UnsupportedModel if ONNX Runtime refuses it.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        if exact:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self.path.parent)
        )
        try:
            return onnxruntime.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise UnsupportedModel(
                f"ONNX Runtime can't load {self.path.name}: {first_line(error)};"
                " export it again, with opset=17 or another version"
            ) from None


def read(path: str | os.PathLike[str]) -> OnnxFile:
    """Read the ONNX file at `path` and check that its only input is an image.

    Raises UnsupportedModel, with what to do, for a file that is no ONNX model or lacks a part.
    Raises it too for a graph with unknown operators, and for one whose input is not one image.
    """
    path = Path(path)
    model = _load(path)
    file = OnnxFile.from_model(path, model)
    _check_operators(file)
    _check_external_data(file)
    _check_image(file)
    return file


def channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether an image of `shape`, with the batch axis, has its channels as the last axis.

    An image whose sides are all open has them first, as every exporter of YOLO writes it.
    """
    first, last = shape[1], shape[3]
    if last in (1, 3):
        return first not in (1, 3) or (first, last) == (1, 3)
    return first not in (1, 3, -1) and last == -1


def shown(shape: tuple[int, ...] | None) -> str:
    """Return a shape for people, with ? for an open side."""
    if shape is None:
        return "of unknown shape"
    return f"({', '.join('?' if side < 0 else str(side) for side in shape)})"


def first_line(error: Exception) -> str:
    """Return an error's message in one line, without ONNX Runtime's codes."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(" : ", 3)[-1].rstrip(".;")


def _load(path: Path) -> onnx.ModelProto:
    if path.is_dir():
        raise UnsupportedModel(f"{path} is a folder; name the .onnx file in it")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise UnsupportedModel(f"{path} can't be read: {error.strerror}; check the path") from None
    if size == 0:
        raise UnsupportedModel(f"{path.name} is empty; export or download it again")
    if size > MAX_BYTES:
        raise UnsupportedModel(
            f"{path.name} has {size} bytes, and an ONNX file has at most 2 GB;"
            " save it with external data (`onnx.save(…, save_as_external_data=True)`)"
        )
    _check_beginning(path, data[:64])
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise UnsupportedModel(
            f"{path.name} is no ONNX file, or its end is missing after {size} bytes;"
            " export or download it again"
        ) from None
    if model.ir_version < 1 or not model.graph.node or not model.opset_import:
        raise UnsupportedModel(
            f"{path.name} is no ONNX model, for it holds no whole graph;"
            f" export it again with {_EXPORT}"
        )
    return model


def _check_beginning(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginning, problem in _MISTAKES:
        if text.startswith(beginning):
            raise UnsupportedModel(f"{path.name} {problem}")
    if start[4:8] == b"TFL3":
        raise UnsupportedModel(f"{path.name} is a TFLite model; make an ONNX file with {_EXPORT}")
    # Ultralytics puts the length and the JSON of its metadata before a TensorRT engine.
    if start[4:6] == b'{"' or start[8:12] == b"ftrt":
        raise UnsupportedModel(
            f"{path.name} is a TensorRT engine; give the ONNX file, or make one with {_EXPORT}"
        )


def _check_operators(file: OnnxFile) -> None:
    local = {(function.domain, function.name) for function in file.model.functions}
    unknown = sorted(
        {
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            for node in _nodes(file.model)
            if (node.domain, node.op_type) not in local
            and (
                node.domain not in _DOMAINS
                or (node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type))
            )
        }
    )
    if unknown:
        raise UnsupportedModel(
            f"{file.path.name} needs operators that ONNX Runtime lacks: {', '.join(unknown[:5])};"
            " export it again without plugins, such as those for TensorRT"
        )


def _check_external_data(file: OnnxFile) -> None:
    for tensor in _tensors(file.model):
        if not _external(tensor):
            continue
        info = ExternalDataInfo(tensor)
        place = PurePosixPath(info.location.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise UnsupportedModel(
                f"{file.path.name} has weights at {info.location!r}, outside its own folder;"
                " save it again with its external data beside it"
            )
        data = file.path.parent / place
        if not data.is_file():
            raise UnsupportedModel(
                f"{file.path.name} has its weights in {place}, which is missing;"
                f" put {place} into the folder {file.path.parent}"
            )
        end = (info.offset or 0) + (info.length or 0)
        if data.stat().st_size < end:
            raise UnsupportedModel(
                f"{place}, the weights of {file.path.name}, ends at {data.stat().st_size} bytes,"
                f" but {end} are needed; copy it again"
            )


def _check_image(file: OnnxFile) -> None:
    name = file.path.name
    if not file.outputs:
        raise UnsupportedModel(f"{name} has no output; export it again with {_EXPORT}")
    if not file.inputs:
        raise UnsupportedModel(f"{name} has no input for an image; export it with {_EXPORT}")
    if len(file.inputs) > 1:
        listed = ", ".join(f"{tensor.name} {shown(tensor.shape)}" for tensor in file.inputs)
        raise UnsupportedModel(
            f"{name} has {len(file.inputs)} inputs: {listed}; Sluice serves models with one,"
            " the image. Export it again without the others"
        )
    image = file.image
    what = f"the input {image.name!r} of {name} is {image.dtype} {shown(image.shape)}"
    if image.shape is None or len(image.shape) != 4:
        raise UnsupportedModel(
            f"{what}, which is no image; export a model that takes (N, 3, height, width)"
        )
    if image.dtype not in IMAGE_DTYPES:
        raise UnsupportedModel(
            f"{what}; an image is {', '.join(IMAGE_DTYPES)}. Export it again as FP32"
        )
    if not {1, 3, -1} & {image.shape[1], image.shape[3]}:
        raise UnsupportedModel(
            f"{what}, which has neither 1 nor 3 channels at the second or the last place;"
            " export a model for grey or colour images"
        )


def _tensor(value: onnx.ValueInfoProto) -> GraphTensor:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else -1
            for dim in kind.shape.dim
        )
    return GraphTensor(value.name, DTYPES.get(kind.elem_type, "UNKNOWN"), shape)


def _external(tensor: onnx.TensorProto) -> bool:
    return bool(uses_external_data(tensor))


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, also in subgraphs and functions."""
    waiting = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the weights, also in subgraphs and in the attributes of nodes."""
    yield from model.graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
