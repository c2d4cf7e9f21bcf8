"""A graph's inputs and outputs, and a check of a model's configuration against them."""

from dataclasses import dataclass
from typing import Any

TYPES = {
    "BOOL": ("tensor(bool)", "boolean"),
    "UINT8": ("tensor(uint8)", "u8"),
    "UINT16": ("tensor(uint16)", "u16"),
    "UINT32": ("tensor(uint32)", "u32"),
    "UINT64": ("tensor(uint64)", "u64"),
    "INT8": ("tensor(int8)", "i8"),
    "INT16": ("tensor(int16)", "i16"),
    "INT32": ("tensor(int32)", "i32"),
    "INT64": ("tensor(int64)", "i64"),
    "FP16": ("tensor(float16)", "f16"),
    "FP32": ("tensor(float)", "f32"),
    "FP64": ("tensor(double)", "f64"),
}
#: Triton's word for a type, by ONNX Runtime's word and by OpenVINO's.
WORDS = {word: f"TYPE_{name}" for name, words in TYPES.items() for word in words}


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a graph."""

    name: str
    """The name in the graph."""

    dtype: str
    """Triton's word for the type."""

    dims: tuple[int, ...]
    """The sizes in the graph, with the batch axis. An open size is -1."""

    def entry(self, batched: bool) -> dict[str, Any]:
        """The tensor's entry in a model's configuration.

        Raises ValueError for a type that Triton has no word for.
        """
        if self.dtype not in WORDS.values():
            raise ValueError(
                f"tensor {self.name!r} has the type {self.dtype}, which this backend can't handle"
            )
        dims = list(self.dims[1:] if batched else self.dims)
        return {"name": self.name, "data_type": self.dtype, "dims": dims}


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a graph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of_session(cls, session: Any) -> "Signature":
        """The signature of an onnxruntime.InferenceSession."""

        def tensor(node: Any) -> Tensor:
            dims = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
            return Tensor(node.name, WORDS.get(node.type, node.type), dims)

        return cls(
            tuple(map(tensor, session.get_inputs())), tuple(map(tensor, session.get_outputs()))
        )

    @classmethod
    def of_model(cls, model: Any) -> "Signature":
        """The signature of an openvino.Model."""

        def tensor(port: Any) -> Tensor:
            shape = port.get_partial_shape()
            dims = (
                tuple(-1 if dim.is_dynamic else dim.get_length() for dim in shape)
                if shape.rank.is_static
                else (-1,)
            )
            word = port.get_element_type().get_type_name()
            return Tensor(port.get_any_name(), WORDS.get(word, word), dims)

        return cls(tuple(map(tensor, model.inputs)), tuple(map(tensor, model.outputs)))

    @property
    def batchable(self) -> bool:
        """True when each tensor's first size is open.

        The native backend recognizes a batch axis in the same way.
        """
        return all(tensor.dims[:1] == (-1,) for tensor in (*self.inputs, *self.outputs))

    def check(self, config: dict[str, Any]) -> None:
        """Raises ValueError, with the line to change, when configuration and graph disagree."""
        batched = config["max_batch_size"] > 0
        if batched and not self.batchable:
            raise ValueError(
                "the graph has no batch axis of open size on every tensor;"
                " set max_batch_size: 0 and give all dims"
            )
        missing = {tensor.name for tensor in self.inputs} - {
            entry["name"] for entry in config["input"]
        }
        if missing:
            raise ValueError(
                "the graph needs inputs that the configuration does not name:"
                f" {', '.join(sorted(missing))}"
            )
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            by_name = {tensor.name: tensor for tensor in tensors}
            for entry in config[kind]:
                if entry["name"] not in by_name:
                    names = ", ".join(sorted(by_name))
                    raise ValueError(
                        f"the graph has no {kind} named {entry['name']!r}; it has {names}"
                    )
                _check(kind, by_name[entry["name"]], entry, batched)


def _check(kind: str, tensor: Tensor, entry: dict[str, Any], batched: bool) -> None:
    if entry["data_type"] != tensor.dtype:
        raise ValueError(
            f"{kind} {tensor.name!r} is {entry['data_type']} in the configuration"
            f" and {tensor.dtype} in the graph"
        )
    configured = [int(dim) for dim in entry["dims"]]
    actual = list(tensor.dims[1:] if batched else tensor.dims)
    fits = len(configured) == len(actual) and all(
        size in (-1, wanted) for wanted, size in zip(configured, actual, strict=True)
    )
    # With a reshape the two may differ. A scalar per row has dims [1], since dims can't be empty.
    if not fits and "reshape" not in entry and not (actual == [] and configured == [1]):
        raise ValueError(
            f"{kind} {tensor.name!r} has dims {configured} in the configuration"
            f" and {actual} in the graph"
        )
