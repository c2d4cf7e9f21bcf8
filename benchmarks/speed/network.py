"""A detector of the shape and the price of a YOLO11n at 640 px, with random weights.

The layers follow the published layout of that family: 6.5 GFLOPs, an input (1, 3, 640, 640) and an
output (1, 84, 8400), both float32. The result means nothing. Of one image,
`CANDIDATES` rows pass a confidence of 0.25, about as many as a photograph has.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, BINS = 640, 80, 16
STRIDES = (8, 16, 32)
CANDIDATES = 60
CONFIDENCE = 0.25
GAIN = 1.55  # SiLU halves most of a value; with this factor the values keep their spread

Floats = npt.NDArray[np.float32]


class _Graph:
    """Collects nodes and weights. A tensor is its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def add(self, operator: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or the list of its names."""
        names = [f"t{len(self.nodes)}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def conv(
        self, x: str, c_in: int, c_out: int, k: int = 1, s: int = 1, *, groups: int = 1
    ) -> str:
        """A convolution with a bias, padded to keep the size."""
        fan_in = c_in // groups * k * k
        weight = self._random.normal(0, GAIN * fan_in**-0.5, (c_out, c_in // groups, k, k))
        bias = self._random.normal(0, 0.1, c_out)
        return str(
            self.add(
                "Conv",
                [x, self.constant(weight, np.float32), self.constant(bias, np.float32)],
                kernel_shape=[k, k],
                strides=[s, s],
                pads=[k // 2] * 4,
                group=groups,
            )
        )

    def block(
        self, x: str, c_in: int, c_out: int, k: int = 1, s: int = 1, *, groups: int = 1
    ) -> str:
        """A convolution and SiLU."""
        y = self.conv(x, c_in, c_out, k, s, groups=groups)
        return str(self.add("Mul", [y, self.add("Sigmoid", [y])]))

    def split(self, x: str, sizes: list[int]) -> list[str]:
        return list(self.add("Split", [x, self.constant(sizes)], len(sizes), axis=1))

    def concat(self, parts: list[str], axis: int = 1) -> str:
        return str(self.add("Concat", parts, axis=axis))

    def reshape(self, x: str, shape: list[int]) -> str:
        return str(self.add("Reshape", [x, self.constant(shape)]))

    def bottleneck(self, x: str, channels: int, middle: int) -> str:
        y = self.block(self.block(x, channels, middle, 3), middle, channels, 3)
        return str(self.add("Add", [x, y]))

    def c3k2(self, x: str, c_in: int, c_out: int, hidden: int, *, deep: bool) -> str:
        """Split in two halves; one goes through a bottleneck, or through one with two of them."""
        halves = self.split(self.block(x, c_in, 2 * hidden), [hidden, hidden])
        inner = self._c3k(halves[1], hidden) if deep else None
        y = inner or self.bottleneck(halves[1], hidden, hidden // 2)
        return self.block(self.concat([*halves, y]), 3 * hidden, c_out)

    def _c3k(self, x: str, channels: int) -> str:
        half = channels // 2
        left = self.block(x, channels, half)
        for _ in range(2):
            left = self.bottleneck(left, half, half)
        right = self.block(x, channels, half)
        return self.block(self.concat([left, right]), channels, channels)

    def pooled(self, x: str, channels: int) -> str:
        """Three poolings of 5 x 5, one after the other, beside the input."""
        half = channels // 2
        parts = [self.block(x, channels, half)]
        for _ in range(3):
            pool = {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2] * 4}
            parts.append(self.add("MaxPool", [parts[-1]], **pool))
        return self.block(self.concat(parts), 4 * half, channels)

    def attention(self, x: str, channels: int, side: int) -> str:
        """Self-attention over all places of one half of the channels, and a small network."""
        half = channels // 2
        kept, y = self.split(self.block(x, channels, channels), [half, half])
        heads, size, key = half // 64, side * side, 32
        mixed = self.conv(y, half, half + 2 * heads * key)
        parts = self.reshape(mixed, [1, heads, 2 * key + 64, size])
        q, k, v = self.add("Split", [parts, self.constant([key, key, 64])], 3, axis=2)
        scale = self.constant(key**-0.5, np.float32)
        turned = self.add("Transpose", [q], perm=[0, 1, 3, 2])
        scores = self.add("Mul", [self.add("MatMul", [turned, k]), scale])
        weights = self.add("Transpose", [self.add("Softmax", [scores], axis=-1)], perm=[0, 1, 3, 2])
        seen = self.reshape(self.add("MatMul", [v, weights]), [1, half, side, side])
        places = self.conv(self.reshape(v, [1, half, side, side]), half, half, 3, groups=half)
        y = self.add("Add", [y, self.conv(self.add("Add", [seen, places]), half, half)])
        fed = self.conv(self.block(y, half, 2 * half), 2 * half, half)
        return self.block(self.concat([kept, self.add("Add", [y, fed])]), channels, channels)

    def upsample(self, x: str) -> str:
        scales = self.constant([1, 1, 2, 2], np.float32)
        options = {"mode": "nearest", "nearest_mode": "floor"}
        options["coordinate_transformation_mode"] = "asymmetric"
        return str(self.add("Resize", [x, "", scales], **options))


def make() -> tuple[onnx.ModelProto, list[tuple[str, str]]]:
    """Build the graph. Also returns the weight and the bias of each level's scores."""
    g = _Graph()
    x = g.block(g.block("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = g.block(g.c3k2(x, 32, 64, 16, deep=False), 64, 64, 3, 2)
    p3 = g.c3k2(x, 64, 128, 32, deep=False)
    p4 = g.c3k2(g.block(p3, 128, 128, 3, 2), 128, 128, 64, deep=True)
    p5 = g.c3k2(g.block(p4, 128, 256, 3, 2), 256, 256, 128, deep=True)
    p5 = g.attention(g.pooled(p5, 256), 256, SIDE // 32)
    n4 = g.c3k2(g.concat([g.upsample(p5), p4]), 384, 128, 64, deep=False)
    n3 = g.c3k2(g.concat([g.upsample(n4), p3]), 256, 64, 32, deep=False)
    m4 = g.c3k2(g.concat([g.block(n3, 64, 64, 3, 2), n4]), 192, 128, 64, deep=False)
    m5 = g.c3k2(g.concat([g.block(m4, 128, 128, 3, 2), p5]), 384, 256, 128, deep=True)
    levels = zip((n3, m4, m5), (64, 128, 256), STRIDES, strict=True)
    maps, score_convs = zip(*(_head(g, *level) for level in levels), strict=True)
    sides, scores = g.split(g.concat(list(maps), axis=2), [4 * BINS, CLASSES])
    boxes = _boxes(g, sides)
    output = g.concat([boxes, g.add("Sigmoid", [scores])])
    g.nodes.append(helper.make_node("Identity", [output], ["output0"]))
    anchors = sum((SIDE // stride) ** 2 for stride in STRIDES)
    shape = [1, 4 + CLASSES, anchors]
    graph = helper.make_graph(
        g.nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    names = {index: f"class {index}" for index in range(CLASSES)}
    facts = {"task": "detect", "names": str(names), "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]"}
    helper.set_model_props(model, facts)
    return model, list(score_convs)


def _head(g: _Graph, x: str, channels: int, stride: int) -> tuple[str, tuple[str, str]]:
    """One level's raw rows (1, 4 x 16 + 80, places): bins of the four sides, and class logits.

    Also returns the weight and the bias of the logits.
    """
    sides = g.conv(g.block(g.block(x, channels, 64, 3), 64, 64, 3), 64, 4 * BINS)
    y = g.block(g.block(x, channels, channels, 3, groups=channels), channels, CLASSES)
    y = g.block(g.block(y, CLASSES, CLASSES, 3, groups=CLASSES), CLASSES, CLASSES)
    places = (SIDE // stride) ** 2
    logits = g.conv(y, CLASSES, CLASSES)
    weight, bias = g.nodes[-1].input[1:]
    rows = g.reshape(g.concat([sides, logits]), [1, 4 * BINS + CLASSES, places])
    return rows, (weight, bias)


def _boxes(g: _Graph, sides: str) -> str:
    """Centre, width and height in network pixels, from the expected bin of each side."""
    anchors = np.concatenate(
        [np.indices((SIDE // s, SIDE // s))[::-1].reshape(2, -1) + 0.5 for s in STRIDES], axis=1
    )
    strides = np.concatenate([np.full((SIDE // s) ** 2, s) for s in STRIDES])
    split = g.reshape(sides, [1, 4, BINS, anchors.shape[1]])
    shares = g.add("Softmax", [g.add("Transpose", [split], perm=[0, 2, 1, 3])], axis=1)
    bins = g.constant(np.arange(BINS).reshape(1, BINS, 1, 1), np.float32)
    distances = g.reshape(g.add("Conv", [shares, bins]), [1, 4, anchors.shape[1]])
    before, after = g.split(distances, [2, 2])
    centres = g.constant(anchors[None], np.float32)
    low, high = g.add("Sub", [centres, before]), g.add("Add", [centres, after])
    half = g.constant(2, np.float32)
    middle = g.add("Div", [g.add("Add", [low, high]), half])
    size = g.add("Sub", [high, low])
    return str(
        g.add("Mul", [g.concat([middle, size]), g.constant(strides[None, None], np.float32)])
    )


def settled(logits: Floats, candidates: int = CANDIDATES) -> tuple[Floats, Floats]:
    """The factor and the shift of each class's logits, of (classes, places).

    Afterwards each class has a spread of 1 over the places, and all have one mean. With that mean,
    `candidates` places reach `CONFIDENCE`. Both results are (classes,).
    """
    wide = logits.astype(np.float64)
    factor = 1 / np.maximum(wide.std(1), 1e-9)
    shift = -wide.mean(1) * factor
    best = np.sort((wide * factor[:, None] + shift[:, None]).max(0))[-candidates]
    shift += math.log(CONFIDENCE / (1 - CONFIDENCE)) - best
    return factor.astype(np.float32), shift.astype(np.float32)


def write(path: Path, tensor: Floats) -> Path:
    """Write the detector, set for the image `tensor` (1, 3, 640, 640) in 0 to 1."""
    model, score_convs = make()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scores = session.run(None, {"images": tensor})[0][0, 4:].astype(np.float64)
    logits = np.log(scores / (1 - scores))
    weights = {weight.name: weight for weight in model.graph.initializer}
    first = 0
    for stride, (weight, bias) in zip(STRIDES, score_convs, strict=True):
        places = (SIDE // stride) ** 2
        level = logits[:, first : first + places]
        factor, shift = settled(level, round(CANDIDATES * places / logits.shape[1]) or 1)
        old = numpy_helper.to_array(weights[weight]), numpy_helper.to_array(weights[bias])
        new = old[0] * factor[:, None, None, None], old[1] * factor + shift
        for name, value in zip((weight, bias), new, strict=True):
            weights[name].CopyFrom(numpy_helper.from_array(value, name))
        first += places
    path.write_bytes(model.SerializeToString())
    return path
