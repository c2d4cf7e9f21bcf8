"""What a graph says of its inputs and outputs, against what a model's configuration says of them."""

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
WORDS = {
    word: f"TYPE_{name}" for name, words in TYPES.items() for word in words
}  # ONNX Runtime's and OpenVINO's → Triton's


@dataclass(frozen=True)
class Tensor:
    """`dims` as in the graph, the batch axis included; -1 where the graph leaves a size open. `dtype` is Triton's word."""

    name: str
    dtype: str
    dims: tuple[int, ...]

    def entry(self, batched: bool) -> dict[str, Any]:
        """Its entry in a model's configuration. Raises ValueError for a type that Triton has no word for."""
        if self.dtype not in WORDS.values():
            raise ValueError(
                f"tensor {self.name!r} is of the type {self.dtype}, which this backend can't pass on"
            )
        dims = list(self.dims[1:] if batched else self.dims)
        return {"name": self.name, "data_type": self.dtype, "dims": dims}


@dataclass(frozen=True)
class Signature:
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of_session(cls, session: Any) -> "Signature":
        """Of an onnxruntime.InferenceSession."""

        def tensor(node: Any) -> Tensor:
            dims = tuple(dim if isinstance(dim, int) else -1 for dim in node.shape)
            return Tensor(node.name, WORDS.get(node.type, node.type), dims)

        return cls(
            tuple(map(tensor, session.get_inputs())), tuple(map(tensor, session.get_outputs()))
        )

    @classmethod
    def of_model(cls, model: Any) -> "Signature":
        """Of an openvino.Model."""

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
        """Whether every tensor's first size is open, which is how the native backend tells a batch axis."""
        return all(tensor.dims[:1] == (-1,) for tensor in (*self.inputs, *self.outputs))

    def check(self, config: dict[str, Any]) -> None:
        """Raises ValueError, naming the line to change, where the configuration and the graph disagree."""
        batched = config["max_batch_size"] > 0
        if batched and not self.batchable:
            raise ValueError(
                "the graph has no batch axis of open size on every tensor; set max_batch_size: 0 and give all dims"
            )
        missing = {tensor.name for tensor in self.inputs} - {
            entry["name"] for entry in config["input"]
        }
        if missing:
            raise ValueError(
                f"the graph needs inputs that the configuration does not name: {', '.join(sorted(missing))}"
            )
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            known = {tensor.name: tensor for tensor in tensors}
            for entry in config[kind]:
                if entry["name"] not in known:
                    names = ", ".join(sorted(known))
                    raise ValueError(
                        f"the graph has no {kind} named {entry['name']!r}; it has {names}"
                    )
                _check(kind, known[entry["name"]], entry, batched)


def _check(kind: str, tensor: Tensor, entry: dict[str, Any], batched: bool) -> None:
    if entry["data_type"] != tensor.dtype:
        raise ValueError(
            f"{kind} {tensor.name!r} is {entry['data_type']} in the configuration and {tensor.dtype} in the graph"
        )
    said = [int(dim) for dim in entry["dims"]]
    have = list(tensor.dims[1:] if batched else tensor.dims)
    # A reshape stands between the two, as it does for a scalar per row, whose dims can't be empty.
    fits = len(said) == len(have) and all(
        theirs in (-1, ours) for ours, theirs in zip(said, have, strict=True)
    )
    if not fits and "reshape" not in entry and not (have == [] and said == [1]):
        raise ValueError(
            f"{kind} {tensor.name!r} has dims {said} in the configuration and {have} in the graph"
        )
