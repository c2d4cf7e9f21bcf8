"""Judging an answer: what a case's `right` says, and what of it is not so."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from tests.support.cases.http import Answer

_LEAST_IOU = 0.9


@dataclass(frozen=True)
class Seen:
    """An answer, and what else was seen on the way to it."""

    answer: Answer
    seconds: float
    fetched: list[str]
    """The paths that the case's own server was asked for."""
    output_of: Callable[[str], dict[str, Any]]
    """The output of the prediction for another file of the cases."""
    drawn: Callable[[], bytes]
    """The annotated image of the case's own file, with nothing drawn on it."""
    read: Callable[[str], bytes]
    """A file of the cases."""

    @property
    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.answer.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def text(self) -> str:
        """The words for people: of the problem, of the prediction's error, or all of the body."""
        body = self.json
        told = [str(body[name]) for name in ("detail", "error") if body.get(name)]
        return (" ".join(told) or self.answer.body.decode(errors="replace")).lower()


def faults(right: dict[str, Any], seen: Seen) -> list[str]:
    """The differences between an answer and the right one; of several ones, the fewest."""
    if "any" in right:
        return min((faults(choice, seen) for choice in right["any"]), key=len)
    return [fault for name, wanted in right.items() for fault in _CHECKS[name](wanted, seen)]


def _among(name: str, value: Any, wanted: Any) -> Iterator[str]:
    if value not in (wanted if isinstance(wanted, list) else [wanted]):
        yield f"{name} is {value!r}, not {wanted!r}"


def _status(wanted: Any, seen: Seen) -> Iterator[str]:
    yield from _among("the status", seen.answer.status, wanted)


def _prediction(wanted: Any, seen: Seen) -> Iterator[str]:
    yield from _among("the prediction", seen.json.get("status"), wanted)


def _code(wanted: Any, seen: Seen) -> Iterator[str]:
    yield from _among("the code", seen.json.get("code") or seen.json.get("error_code"), wanted)


def _says(wanted: list[str], seen: Seen) -> Iterator[str]:
    for words in wanted:
        if words.lower() not in seen.text:
            yield f"{words!r} is not said"


def _says_any(wanted: list[str], seen: Seen) -> Iterator[str]:
    if not any(words.lower() in seen.text for words in wanted):
        yield f"none of {wanted} is said"


def _says_not(wanted: list[str], seen: Seen) -> Iterator[str]:
    for words in wanted:
        if words.lower() in seen.text:
            yield f"{words!r} is said"


def _headers(wanted: dict[str, str], seen: Seen) -> Iterator[str]:
    for name, pattern in wanted.items():
        if not re.search(pattern, value := seen.answer.header(name) or ""):
            yield f"{name} is {value!r}, not {pattern!r}"


def _no_headers(wanted: list[str], seen: Seen) -> Iterator[str]:
    for name in wanted:
        if (value := seen.answer.header(name)) is not None:
            yield f"{name} is {value!r}"


def _json(wanted: dict[str, Any], seen: Seen) -> Iterator[str]:
    for path, value in wanted.items():
        found = at_path(seen.json, path)
        is_right = re.search(value, str(found)) if isinstance(value, str) else found == value
        if not is_right:
            yield f"{path} is {found!r}, not {value!r}"


def at_path(value: Any, path: str) -> Any:
    """The value at a path such as `urls.get`; `#` is a length."""
    for step in path.split("."):
        if step == "#":
            value = len(value)
        elif isinstance(value, list):
            value = value[int(step)]
        else:
            value = (value or {}).get(step)
    return value


def _body_bytes(wanted: int, seen: Seen) -> Iterator[str]:
    yield from _among("the body's length", len(seen.answer.body), wanted)


def _within_s(wanted: float, seen: Seen) -> Iterator[str]:
    if seen.seconds > wanted:
        yield f"the answer took {seen.seconds:.1f} s"


def _fetched(wanted: str, seen: Seen) -> Iterator[str]:
    if set(seen.fetched) != {wanted}:
        yield f"{seen.fetched} was fetched, not {wanted}"


def _image(wanted: list[int], seen: Seen) -> Iterator[str]:
    image = at_path(seen.json, "output.image") or {}
    yield from _among("the size", [image.get("width"), image.get("height")], [wanted])


def _predictions(output: dict[str, Any] | None) -> list[dict[str, Any]]:
    return list((output or {}).get("predictions", []))


def _detections(wanted: list[list[Any]], seen: Seen) -> Iterator[str]:
    yield from _unlike(wanted, _boxes(seen.json.get("output")))


def _boxes(output: dict[str, Any] | None) -> list[list[Any]]:
    names = ("class", "x", "y", "width", "height")
    return [[entry[name] for name in names] for entry in _predictions(output)]


def _unlike(wanted: list[list[Any]], found: list[list[Any]]) -> Iterator[str]:
    rest = list(found)
    for box in wanted:
        alike = [other for other in rest if other[0] == box[0] and _iou(box, other) >= _LEAST_IOU]
        if alike:
            rest.remove(alike[0])
        else:
            yield f"{box} is not among {found}"
    for box in rest:
        yield f"{box} is one too many"


def _iou(first: list[Any], second: list[Any]) -> float:
    overlap = 1.0
    for centre, side in ((1, 3), (2, 4)):
        low = max(box[centre] - box[side] / 2 for box in (first, second))
        high = min(box[centre] + box[side] / 2 for box in (first, second))
        overlap *= max(0.0, high - low)
    return float(overlap / (first[3] * first[4] + second[3] * second[4] - overlap))


def _keypoints(wanted: list[list[float]], seen: Seen) -> Iterator[str]:
    for entry in _predictions(seen.json.get("output")):
        points = [[point["x"], point["y"]] for point in entry["keypoints"]]
        if np.shape(points) != np.shape(wanted) or not np.allclose(points, wanted, atol=1):
            yield f"the keypoints are {points}, not {wanted}"


def _points(wanted: int, seen: Seen) -> Iterator[str]:
    for entry in _predictions(seen.json.get("output")):
        if len(entry["points"]) < wanted:
            yield f"an outline has {len(entry['points'])} points"


def _same_as(wanted: str, seen: Seen) -> Iterator[str]:
    other = seen.output_of(wanted)
    yield from _among("the image", at_path(seen.json, "output.image"), other["image"])
    yield from _unlike(_boxes(other), _boxes(seen.json.get("output")))


def _pixels(wanted: dict[str, Any], seen: Seen) -> Iterator[str]:
    pictures = [
        np.asarray(Image.open(BytesIO(data)).convert("RGB"), dtype=np.int16)
        for data in (seen.drawn(), seen.read(wanted["like"]))
    ]
    if pictures[0].shape != pictures[1].shape:
        yield f"the picture is of the shape {pictures[0].shape}, not {pictures[1].shape}"
        return
    difference = float(np.abs(pictures[0] - pictures[1]).mean())
    if difference > wanted["mean_diff"]:
        yield f"the picture differs by {difference:.1f} grey levels"


_CHECKS: dict[str, Callable[[Any, Seen], Iterator[str]]] = {
    "status": _status,
    "prediction": _prediction,
    "code": _code,
    "says": _says,
    "says_any": _says_any,
    "says_not": _says_not,
    "headers": _headers,
    "no_headers": _no_headers,
    "json": _json,
    "body_bytes": _body_bytes,
    "within_s": _within_s,
    "fetched": _fetched,
    "image": _image,
    "detections": _detections,
    "keypoints": _keypoints,
    "points": _points,
    "same_as": _same_as,
    "pixels": _pixels,
}
