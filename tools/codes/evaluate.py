"""The exported ONNX file on held-out scenes: AP per class, recall by size, false alarms."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tools.codes import CLASSES
from tools.codes.dataset import Dataset
from tools.codes.precision import class_precision, iou, match, suppress

NMS_IOU = 0.45
FLOOR = 0.001
"""Detections with a lower score are left out. The bound limits the time, not the AP."""
CONFIDENCE = 0.25
"""The confidence at which recall and false alarms are counted."""
SIZES = (("10-16 px", 10, 16), ("16-32 px", 16, 32), ("32-96 px", 32, 96), ("over 96 px", 96, 1e9))
"""Ranges of the square root of a box's area, in network pixels."""


def session(path: Path, threads: int = 2) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def detect(
    model: onnxruntime.InferenceSession, images: NDArray[np.uint8], floor: float = FLOOR
) -> list[NDArray[np.float32]]:
    """Detections in images (N, S, S, 3), after suppression per class, best first.

    For each image (n, 6): x1, y1, x2, y2 in network pixels, score, class. Each class is judged by
    its own score: one box may have two classes.
    """
    out = []
    for rows in model.run(None, {"images": images})[0]:
        low, size, found = rows[:2].T - rows[2:4].T / 2, rows[2:4].T, []
        boxes = np.concatenate([low, low + size], 1)
        for kind, scores in enumerate(rows[4:]):
            pick = scores > floor
            kept = suppress(boxes[pick], scores[pick], NMS_IOU)
            part = np.column_stack(
                [boxes[pick][kept], scores[pick][kept], np.full(len(kept), kind)]
            )
            found.append(part.astype(np.float32))
        table = np.concatenate(found)
        out.append(table[np.argsort(-table[:, 4], kind="stable")])
    return out


def evaluate(path: Path, data: Dataset, batch: int = 16) -> dict[str, Any]:
    """All figures for one file on one split. `tools/README.md` explains the figures."""
    model = session(path)
    parts: list[list] = [[] for _ in CLASSES]
    totals = np.zeros(len(CLASSES), int)
    by_size = np.zeros((len(SIZES), 2), int)
    alarms, began = 0, time.monotonic()
    for start in range(0, len(data), batch):
        for offset, found in enumerate(detect(model, data.images[start : start + batch])):
            truth = data.labels(start + offset)
            for kind in range(len(CLASSES)):
                mine, wanted = found[found[:, 5] == kind], truth[truth[:, 4] == kind]
                scores, verdict = match(mine[:, :4], mine[:, 4], wanted[:, :4], wanted[:, 5] > 0)
                parts[kind].append((scores, verdict))
                totals[kind] += int((wanted[:, 5] == 0).sum())
                alarms += int((verdict[0, scores > CONFIDENCE] == 0).sum())
                sure = mine[mine[:, 4] > CONFIDENCE, :4]
                for row in wanted[wanted[:, 5] == 0]:
                    hit = len(sure) > 0 and iou(row[None, :4], sure).max() >= 0.5
                    side = float(np.sqrt(np.prod(row[2:4] - row[:2])))
                    for i, (_, low, high) in enumerate(SIZES):
                        by_size[i] += np.array([hit, 1]) * (low <= side < high)
    report: dict[str, Any] = {
        "scenes": len(data),
        "nms_iou": NMS_IOU,
        "seconds": round(time.monotonic() - began, 1),
    }
    report["classes"] = {}
    for kind, name in enumerate(CLASSES):
        values = class_precision(parts[kind], int(totals[kind]))
        report["classes"][name] = {
            "objects": int(totals[kind]),
            "ap50": round(float(values[0]), 4),
            "ap50_95": round(float(values.mean()), 4),
        }
    report["recall_at_0.25"] = {
        name: {"objects": int(n), "recall": round(float(hit / max(1, n)), 4)}
        for (name, _, _), (hit, n) in zip(SIZES, by_size, strict=True)
    }
    report["false_alarms_per_scene_at_0.25"] = round(alarms / len(data), 4)
    return report


def table(report: dict[str, Any]) -> str:
    """The report's classes as a Markdown table."""
    lines = ["| class | objects | AP50 | AP50-95 |", "| --- | --- | --- | --- |"]
    for name, row in report["classes"].items():
        lines.append(f"| {name} | {row['objects']} | {row['ap50']:.3f} | {row['ap50_95']:.3f} |")
    return "\n".join(lines)


def save(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(report, indent=1) + "\n")
