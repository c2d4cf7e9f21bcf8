"""A real Redis and a real Triton, with a model repository made for the tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.local.stack import Stack, StackConfig

# ONNX's numbers for types.
FLOAT, UINT8, INT32, INT64, BOOL, FLOAT16, DOUBLE = 1, 2, 6, 7, 9, 10, 11
OPENVINO = (
    "optimization { execution_accelerators {"
    ' cpu_execution_accelerator: [ { name: "openvino" } ] } }\n'
)


def onnx_graph(
    nodes: list[tuple[str, list[str], list[str]]],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, tuple[int, list[int | str]]],
    constants: dict[str, tuple[int, list[int], bytes]] | None = None,
) -> bytes:
    """A small ONNX model, as bytes.

    A tensor is (type, dims); a dim that is a word is open. The package onnx could make such files
    too. No other test needs that large package.
    """

    def number(field: int, value: int) -> bytes:
        return _varint(field << 3) + _varint(value)

    def block(field: int, value: bytes | str) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return _varint(field << 3 | 2) + _varint(len(raw)) + raw

    def value(name: str, dtype: int, dims: list[int | str]) -> bytes:
        shape = b"".join(
            block(1, block(2, dim) if isinstance(dim, str) else number(1, dim)) for dim in dims
        )
        return block(1, name) + block(2, block(1, number(1, dtype) + block(2, shape)))

    graph = b""
    for kind, names_in, names_out in nodes:
        names = b"".join(block(1, name) for name in names_in) + b"".join(
            block(2, name) for name in names_out
        )
        graph += block(1, names + block(4, kind))
    graph += block(2, "graph")
    for name, (dtype, sizes, raw) in (constants or {}).items():
        graph += block(
            5,
            b"".join(number(1, size) for size in sizes)
            + number(2, dtype)
            + block(8, name)
            + block(9, raw),
        )
    graph += b"".join(block(11, value(name, *tensor)) for name, tensor in inputs.items())
    graph += b"".join(block(12, value(name, *tensor)) for name, tensor in outputs.items())
    return number(1, 8) + block(7, graph) + block(8, block(1, "") + number(2, 17))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


Add = Callable[..., None]


def adder(repository: Path) -> Add:
    """A function that adds models to a repository."""

    def add(
        name: str, graph: bytes | Path, config: str | None, filename: str = "model.onnx"
    ) -> None:
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        if isinstance(graph, Path):
            shutil.copy(graph, folder / filename)
        else:
            (folder / filename).write_bytes(graph)
        if config is not None:
            (repository / name / "config.pbtxt").write_text(
                f'backend: "onnxruntime"\ninstance_group [ {{ count: 1 }} ]\n{config}'
            )

    return add


@pytest.fixture
def identity() -> bytes:
    """The graph y = x, for any number of rows of two floats."""
    return onnx_graph(
        [("Identity", ["x"], ["y"])], {"x": (FLOAT, ["n", 2])}, {"y": (FLOAT, ["n", 2])}
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start a stack of Redis and Triton on free ports."""
    stacks = []

    def start(
        models: Path, *, parts: frozenset[str] = frozenset({"redis", "triton"}), **options: object
    ) -> Stack:
        stack = Stack(
            StackConfig(state=tmp_path / "state", models=models, port=0, parts=parts), **options
        )
        stacks.append(stack)
        stack.start()
        return stack

    yield start
    for stack in stacks:
        stack.stop()
