"""The answers of the service, as dataclasses. `raw` of each is the answer's JSON.

Lengths are pixels of the upright source image; x grows to the right and y downwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from sluice.client import formats

JsonObject = dict[str, Any]
T = TypeVar("T")

_ENDED = ("succeeded", "failed", "canceled", "aborted")


@dataclass(frozen=True)
class Keypoint:
    """One point of a detection. `confidence` is 1 where the model gives none."""

    x: float
    y: float
    confidence: float
    class_id: int
    """The point's place in the model's order, from 0."""


@dataclass(frozen=True)
class Detection:
    """One object in the image."""

    x: float
    """The box's centre."""
    y: float
    width: float
    height: float
    confidence: float
    class_name: str
    class_id: int
    id: str
    points: tuple[tuple[float, float], ...] = ()
    """The mask's outline, or the four corners of a turned box; empty for other tasks."""
    keypoints: tuple[Keypoint, ...] = ()

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """The box as left, top, right and bottom."""
        half_width, half_height = self.width / 2, self.height / 2
        return (
            self.x - half_width,
            self.y - half_height,
            self.x + half_width,
            self.y + half_height,
        )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            x=raw["x"],
            y=raw["y"],
            width=raw["width"],
            height=raw["height"],
            confidence=raw["confidence"],
            class_name=raw["class"],
            class_id=raw["class_id"],
            id=raw["detection_id"],
            points=tuple((point["x"], point["y"]) for point in raw.get("points", ())),
            keypoints=tuple(
                Keypoint(point["x"], point["y"], point["confidence"], point["class_id"])
                for point in raw.get("keypoints", ())
            ),
        )


@dataclass(frozen=True)
class ClassScore:
    """The confidence that the whole image is of one class."""

    class_name: str
    class_id: int
    confidence: float


@dataclass(frozen=True)
class Output:
    """The result of one image: detections, or scores where the model classifies."""

    width: int
    height: int
    detections: tuple[Detection, ...]
    scores: tuple[ClassScore, ...]
    """The best class first; empty unless the model classifies."""
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        entries = raw["predictions"]
        classifies = "top" in raw
        return cls(
            width=raw["image"]["width"],
            height=raw["image"]["height"],
            detections=() if classifies else tuple(map(Detection.from_json, entries)),
            scores=tuple(
                ClassScore(entry["class"], entry["class_id"], entry["confidence"])
                for entry in entries
            )
            if classifies
            else (),
            raw=raw,
        )

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`. Needs the package `supervision`."""
        import supervision  # type: ignore[import-not-found]  # noqa: PLC0415  # optional

        return supervision.Detections.from_inference(self.raw)

    def to_yolo(self, *, confidence: bool = True) -> str:
        """Return a text file in the format of YOLO's labels: see `sluice.client.formats`."""
        return formats.yolo(self, confidence=confidence)

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[JsonObject]:
        """Return annotations of COCO. `formats.coco` makes the whole document of many images."""
        return formats.coco_annotations(self, image_id, first_id)

    def plot(self, image: Any) -> Any:
        """Draw the detections on a copy of `image`, and return an image of Pillow.

        `image` is the one that was submitted, in any form but a URL. Needs Pillow.
        """
        from sluice.client import drawing  # noqa: PLC0415  # Pillow is slow to import

        return drawing.draw(image, self)


@dataclass(frozen=True)
class Prediction:
    """A prediction as it was at the time of the answer."""

    id: str
    model: str
    status: str
    """`starting`, `processing`, `succeeded`, `failed`, `canceled` or `aborted`."""
    output: Output | None
    """Once the status is `succeeded`."""
    error: str | None
    error_code: str | None
    metrics: Mapping[str, float]
    """Seconds by stage."""
    metadata: JsonObject
    priority: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    queue_position: int | None
    """While the status is `starting`: 1 is the next to run."""
    estimated_wait_s: float | None
    raw: JsonObject = field(repr=False)

    @property
    def ended(self) -> bool:
        """True once the status can't change any more."""
        return self.status in _ENDED

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        return cls(
            output=Output.from_json(raw["output"]) if raw["output"] else None,
            created_at=datetime.fromisoformat(raw["created_at"]),
            started_at=_time(raw["started_at"]),
            completed_at=_time(raw["completed_at"]),
            queue_position=raw.get("queue_position"),
            estimated_wait_s=raw.get("estimated_wait_s"),
            raw=raw,
            **_same(raw, "id", "model", "status", "error", "error_code", "metrics"),
            **_same(raw, "metadata", "priority"),
        )


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, the newest first."""

    results: tuple[T, ...]
    previous: str | None
    """The cursor of the page with newer entries; None on the first page."""
    next: str | None
    """The cursor of the page with older entries; None on the last page."""


@dataclass(frozen=True)
class RefusedImage:
    """An image of a batch that was refused."""

    index: int
    name: str | None
    code: str
    detail: str


@dataclass(frozen=True)
class Batch:
    """Many images of one call."""

    id: str
    model: str
    status: str
    """`starting`, `processing`, `succeeded` (all have ended, well or not) or `canceled`."""
    total: int
    counts: Mapping[str, int]
    """The number of predictions in each status."""
    missing: int
    """Images that have not arrived."""
    errors: tuple[RefusedImage, ...]
    completed_at: datetime | None
    raw: JsonObject = field(repr=False)

    @property
    def ended(self) -> bool:
        return self.completed_at is not None

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        return cls(
            errors=tuple(
                RefusedImage(**_same(error, "index", "name", "code", "detail"))
                for error in raw["errors"]
            ),
            completed_at=_time(raw["completed_at"]),
            raw=raw,
            **_same(raw, "id", "model", "status", "total", "counts", "missing"),
        )


@dataclass(frozen=True)
class File:
    """An uploaded image, which submissions name by its `url`."""

    id: str
    name: str
    size: int
    """In bytes."""
    expires_at: datetime
    url: str
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        return cls(
            expires_at=datetime.fromisoformat(raw["expires_at"]),
            url=raw["urls"]["get"],
            raw=raw,
            **_same(raw, "id", "name", "size"),
        )


@dataclass(frozen=True)
class Model:
    """A model of the service. A model that is not ready has no task and no classes."""

    name: str
    ready: bool
    reason: str | None
    """The reason for not being ready."""
    default: bool
    version: str | None
    task: str | None
    classes: tuple[str, ...]
    """The names of the classes, by class id."""
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        return cls(
            classes=tuple(raw["classes"] or ()),
            raw=raw,
            **_same(raw, "name", "ready", "reason", "default", "version", "task"),
        )


@dataclass(frozen=True)
class Queue:
    """The load of the service, of all callers together."""

    backlog: int
    processing: int
    oldest_s: float
    workers: int
    per_s: float
    estimated_wait_s: float | None
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        names = ("backlog", "processing", "oldest_s", "workers", "per_s", "estimated_wait_s")
        return cls(raw=raw, **_same(raw, *names))


@dataclass(frozen=True)
class Minute:
    """The load in one minute, of all callers together."""

    at: datetime
    """The start of the minute."""
    backlog: int | None
    """The largest sample; None where nothing took a sample."""
    processing: int | None
    workers: int | None
    succeeded: int
    failed: int
    aborted: int
    latency_p50_s: float | None
    """Seconds from submission to success that half of the predictions kept."""
    latency_p95_s: float | None
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        names = ("backlog", "processing", "workers", "succeeded", "failed", "aborted")
        return cls(
            at=datetime.fromisoformat(raw["at"]),
            raw=raw,
            **_same(raw, *names, "latency_p50_s", "latency_p95_s"),
        )


@dataclass(frozen=True)
class Delivery:
    """One event on its way to a webhook."""

    id: str
    type: str
    url: str
    status: str
    reason: str | None
    attempts: int
    raw: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        return cls(raw=raw, **_same(raw, "id", "type", "url", "status", "reason", "attempts"))


def _same(raw: Mapping[str, Any], *names: str) -> JsonObject:
    """The fields whose names and types are those of the answer."""
    return {name: raw[name] for name in names}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
