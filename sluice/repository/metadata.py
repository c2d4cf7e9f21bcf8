"""The metadata that an exporter wrote about a model into its ONNX file.

Ultralytics writes each value as Python prints it: https://docs.ultralytics.com/modes/export/
YOLOv5 writes `stride` and `names` only. Many files have no metadata at all.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.models import Task


@dataclass(frozen=True)
class Metadata:
    """The metadata that Sluice uses. A field is None where the file does not say."""

    task: Task | None = None
    names: tuple[str, ...] | None = None
    """The classes' names, by class id. A gap or an empty name is `class_N`."""
    imgsz: tuple[int, int] | None = None
    """The input's (height, width), in pixels."""
    stride: int | None = None
    """Sides of the input are multiples of the stride, in pixels."""
    batch: int | None = None
    channels: int | None = None
    kpt_shape: tuple[int, int] | None = None
    """(K, D): the number of keypoints, and 2 or 3 values for each."""
    head: str | None = None
    """The exporter's name of the last module, such as `Detect` or `RTDETRDecoder`."""
    end2end: bool | None = None
    """True where the graph needs no suppression."""
    nms: bool | None = None
    """True where the exporter added suppression to the graph."""
    notes: tuple[str, ...] = ()
    """Sentences for the person, about values that were left out."""


def parse(properties: Mapping[str, str]) -> Metadata:
    """Read an ONNX file's metadata."""
    values = {key: _literal(value) for key, value in properties.items()}
    task = properties.get("task")
    names = values.get("names")
    if isinstance(names, dict):
        names = [names.get(index, f"class_{index}") for index in range(max(names) + 1)]
    imgsz = values.get("imgsz")
    return Metadata(
        task=Task(task) if task else None,
        names=tuple(map(str, names)) if names else None,
        imgsz=(imgsz[0], imgsz[1]) if isinstance(imgsz, list) else None,
        stride=values.get("stride"),
        channels=values.get("channels"),
        batch=values.get("batch"),
        end2end=values.get("end2end"),
        head=properties.get("head"),
    )


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        try:
            return json.loads(text)
        except ValueError:
            return None
