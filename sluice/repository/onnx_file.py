"""An ONNX file: its graph, the signature of the graph, and the metadata that the exporter wrote.

The format is ONNX's: https://onnx.ai/onnx/repo-docs/IR.html
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from sluice.errors import UnsupportedModel

# Protobuf reads no larger message: https://protobuf.dev/programming-guides/proto-limits/
MAX_BYTES = 2**31 - 1

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
        return cls(
            path=path,
            model=model,
            inputs=tuple(_tensor(v) for v in model.graph.input if v.name not in initializers),
            outputs=tuple(_tensor(v) for v in model.graph.output),
            metadata={prop.key: prop.value for prop in model.metadata_props},
            opset=max(
                (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1
            ),
        )


def read(path: str | os.PathLike[str]) -> OnnxFile:
    """Read the ONNX file at `path`.

    Raises UnsupportedModel, with what to do, if the file is no ONNX model.
    """
    path = Path(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise UnsupportedModel(f"{path} can't be read as an ONNX file: {error}") from None
    return OnnxFile.from_model(path, model)


def _tensor(value: onnx.ValueInfoProto) -> GraphTensor:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else -1
            for dim in kind.shape.dim
        )
    return GraphTensor(value.name, DTYPES.get(kind.elem_type, "UNKNOWN"), shape)
