"""The metadata that an exporter wrote about a model into its ONNX file.

Ultralytics writes each value as Python prints it: https://docs.ultralytics.com/modes/export/
YOLOv5 writes `stride` and `names` only. Many files have no metadata at all.
A value that can't be read is left out, and a note says so: no metadata makes a file unreadable.
"""

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.models import Task

MAX_CLASSES = 100_000
"""A greater class id is a mistake, not a class."""
MAX_SIDE = 16_384
"""A greater side of an image, in pixels, is a mistake."""

_UNREADABLE = object()


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
    """Read an ONNX file's metadata, keys to texts. Keys that Sluice does not use are ignored."""
    reader = _Reader(properties)
    args = reader.args()
    return Metadata(
        task=reader.task(),
        names=reader.names(),
        imgsz=reader.imgsz(),
        stride=reader.stride(),
        batch=reader.positive("batch"),
        channels=reader.positive("channels"),
        kpt_shape=reader.kpt_shape(),
        head=properties.get("head", "").strip() or None,
        end2end=reader.flag("end2end", properties.get("end2end")),
        nms=reader.flag("nms", args.get("nms")),
        notes=tuple(reader.notes),
    )


def complete_names(names: Mapping[int, Any]) -> tuple[str, ...]:
    """Return the names by class id, from 0 to the greatest id, as valid UTF-8.

    A gap, None or blank text becomes `class_N`. Raises ValueError for an id or a name that is none.
    """
    if not names or min(names) < 0 or max(names) >= MAX_CLASSES:
        raise ValueError(f"class ids must be from 0 to {MAX_CLASSES - 1}")
    if not all(isinstance(name, str | int | float | None) for name in names.values()):
        raise ValueError("a class's name must be text")
    texts = {number: "" if name is None else str(name) for number, name in names.items()}
    return tuple(
        _valid(name) if (name := texts.get(number, "")).strip() else f"class_{number}"
        for number in range(max(names) + 1)
    )


def _valid(text: str) -> str:
    """Return text that has a form in UTF-8, which Triton asks for: no half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Reader:
    """Reads one file's values. Every method returns None for a value that is missing or broken."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = properties
        self.notes: list[str] = []

    def task(self) -> Task | None:
        text = self._properties.get("task", "").strip()
        if not text:
            return None
        try:
            return Task(text.lower())
        except ValueError:
            self._left_out("task", f"Sluice serves {', '.join(Task)}")
            return None

    def names(self) -> tuple[str, ...] | None:
        value = self._value("names")
        if value is None:
            return None
        try:
            if isinstance(value, list | tuple):
                return complete_names(dict(enumerate(value)))
            if isinstance(value, dict):
                return complete_names({int(key): name for key, name in value.items()})
        except (TypeError, ValueError, OverflowError):
            pass
        self._left_out("names", "class names are a dict or a list; give --names instead")
        return None

    def imgsz(self) -> tuple[int, int] | None:
        value = self._value("imgsz")
        if value is None:
            return None
        sides = value if isinstance(value, list | tuple) else [value]
        numbers = [_whole(side) for side in sides]
        match numbers:
            case [int(side)] if side <= MAX_SIDE:
                return side, side
            case [int(height), int(width)] if max(height, width) <= MAX_SIDE:
                return height, width
        self._left_out("imgsz", "a size is [height, width]; give --imgsz instead")
        return None

    def stride(self) -> int | None:
        value = self._value("stride")
        if value is None:
            return None
        strides = [_whole(stride) for stride in (value if isinstance(value, list) else [value])]
        whole = [stride for stride in strides if stride and stride <= MAX_SIDE]
        if whole and len(whole) == len(strides):
            return max(whole)
        self._left_out("stride", "a stride is a number of pixels")
        return None

    def positive(self, key: str) -> int | None:
        value = self._value(key)
        if value is None:
            return None
        number = _whole(value)
        if number is None:
            self._left_out(key, "a whole number above 0 is needed")
        return number

    def kpt_shape(self) -> tuple[int, int] | None:
        value = self._value("kpt_shape")
        if value is None:
            return None
        if isinstance(value, list | tuple):
            match [_whole(item) for item in value]:
                case [int(count), (2 | 3) as values]:
                    return count, values
        self._left_out("kpt_shape", "a shape is [keypoints, 2 or 3]; give --kpt-shape instead")
        return None

    def args(self) -> Mapping[str, Any]:
        value = self._value("args")
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self._left_out("args", "the exporter's options are a dict")
        return {}

    def flag(self, key: str, value: Any) -> bool | None:
        """Return a value of `True`, `False`, 1 or 0, which may be text."""
        if isinstance(value, str) and value.strip():
            value = _literal(value.strip().capitalize())
        if value in (None, ""):
            return None
        if value in (True, False):
            return bool(value)
        self._left_out(key, "True or False is needed")
        return None

    def _value(self, key: str) -> Any:
        text = self._properties.get(key, "").strip()
        value = _literal(text) if text else None
        return None if value is None or value in ({}, [], ()) else value

    def _left_out(self, key: str, reason: str) -> None:
        text = self._properties.get(key, "")
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        self.notes.append(f"The file's metadata {key}={shown!r} is left out: {reason}.")


def _literal(text: str) -> Any:
    """Return a JSON value or a Python literal. Nothing is run."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a name may look like an escape
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _UNREADABLE


def _whole(value: Any) -> int | None:
    """Return a whole number above 0, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value // 1 and 0 < value < 2**31 else None
