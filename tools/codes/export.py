"""The trained network as an ONNX file, in a folder of a Triton model repository."""

import json
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tools.codes import CLASSES, SIZE, STRIDES, TOP_K
from tools.codes.network import Network, folded, macs

VERSION = "1.0.0"
OPSET = 17

CONFIG = """\
# A detector of codes, trained by us on pictures rendered by us: see tools/README.md.
name: "codes"
backend: "onnxruntime"
max_batch_size: 16
input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] }} ]
output [ {{ name: "output0" data_type: TYPE_FP32 dims: [ {rows}, {top} ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
instance_group [ {{ count: 1 }} ]
optimization {{ execution_accelerators {{ cpu_execution_accelerator \
: [ {{ name : "openvino" }} ] }} }}
parameters {{ key: "sluice.task" value: {{ string_value: "detect" }} }}
parameters {{ key: "sluice.layout" value: {{ string_value: "anchor-free" }} }}
parameters {{ key: "sluice.names" value: {{ string_value: "{names}" }} }}
parameters {{ key: "sluice.imgsz" value: {{ string_value: "[{size}, {size}]" }} }}
"""


class Served(nn.Module):
    """The graph that Triton serves: (N, S, S, 3) uint8 RGB to (N, 4 + C, K) float32.

    Rows: cx, cy, w, h in network pixels, then a probability per class. Columns: the K anchors with
    the highest best-class score, best first. Nothing is suppressed.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        boxes, logits = self.network(images.permute(0, 3, 1, 2).float() / 255)
        scores = logits.sigmoid()
        low, high = boxes.split(2, 2)
        rows = torch.cat([(low + high) / 2, high - low, scores], 2).transpose(1, 2)
        best = scores.amax(2, keepdim=True).transpose(1, 2).topk(TOP_K, 2).indices
        return rows.gather(2, torch.cat([best] * (4 + len(CLASSES)), 1))


def export(weights: Path, repository: Path) -> Path:
    """Write `repository`/codes: 1/model.onnx, labels.txt and config.pbtxt.

    Returns the ONNX file's path.
    """
    network = Network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    model = Served(folded(network.eval())).eval()
    folder = repository / "codes"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    path, draft = folder / "1" / "model.onnx", folder / "1" / "model.tmp"
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The anchors are traced as constants, on purpose.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(draft),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
        )
    graph = onnx.load(draft)
    shape = graph.graph.output[0].type.tensor_type.shape.dim
    for axis, value in zip(shape[1:], (4 + len(CLASSES), TOP_K), strict=True):
        axis.dim_value = value
    props = {
        "names": str(dict(enumerate(CLASSES))),
        "task": "detect",
        "imgsz": str([SIZE, SIZE]),
        "stride": str(max(STRIDES)),
        "description": "Sluice codes: QR codes, bar codes, ArUco and AprilTag markers",
        "author": "Sluice",
        "license": "Apache-2.0",
        "version": VERSION,
    }
    onnx.helper.set_model_props(graph, props)
    graph.producer_name, graph.producer_version, graph.doc_string = "sluice", VERSION, ""
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, draft)
    draft.replace(path)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    names = json.dumps(list(CLASSES)).replace('"', '\\"')
    (folder / "config.pbtxt").write_text(
        CONFIG.format(size=SIZE, rows=4 + len(CLASSES), top=TOP_K, names=names)
    )
    return path


def cost() -> dict[str, int]:
    """Parameters and multiply-accumulates of the network."""
    network = folded(Network().eval())
    return {"parameters": sum(p.numel() for p in network.parameters()), "macs": macs(network)}
