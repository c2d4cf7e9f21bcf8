"""Draws the pictures of `docs/concepts/`: `python -m tools.site.diagrams` writes `docs/images/`.

A picture is boxes at places that a person chose, and arrows between them. The arrows of a
prediction's life come from `sluice.prediction.TRANSITIONS`, so that the picture can't be wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

from sluice.prediction import TRANSITIONS, Status

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
#: The labels of a prediction's transitions.
LABELS = {
    (Status.STARTING, Status.PROCESSING): "claim",
    (Status.STARTING, Status.FAILED): "dead letter",
    (Status.STARTING, Status.CANCELED): "cancel",
    (Status.STARTING, Status.ABORTED): "deadline passed",
    (Status.PROCESSING, Status.SUCCEEDED): "result",
    (Status.PROCESSING, Status.FAILED): "error",
    (Status.PROCESSING, Status.CANCELED): "cancel",
    (Status.PROCESSING, Status.STARTING): "lease lapsed, or retry",
}
_COLOURS = {
    "wait": "#fff3cd",
    "work": "#cfe8f7",
    "good": "#d5efd9",
    "bad": "#f7d4d4",
    "store": "#e6e0f4",
    "plain": "#ffffff",
}
_STYLES = ('font-weight="600"', 'font-size="13"')
_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="system-ui, sans-serif" font-size="15">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" \
orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#37474f"/></marker></defs>
<rect width="{width}" height="{height}" rx="12" fill="#fafafa"/>
"""


@dataclass(frozen=True)
class Box:
    """A box with its centre at (x, y), in units of the picture; `|` in the text begins a line."""

    text: str
    x: int
    y: int
    kind: str = "plain"
    width: int = 150
    height: int = 52

    def edge(self, x: float, y: float) -> tuple[float, float]:
        """The point of the border towards (x, y)."""
        dx, dy = x - self.x, y - self.y
        scale = min(
            (self.width / 2 + 4) / abs(dx) if dx else 9e9,
            (self.height / 2 + 4) / abs(dy) if dy else 9e9,
        )
        return self.x + dx * scale, self.y + dy * scale

    def draw(self) -> str:
        lines = self.text.split("|")
        top = self.y - 9 * (len(lines) - 1) + 5
        texts = "".join(
            f'<text x="{self.x}" y="{top + 18 * row}" text-anchor="middle" fill="#1b1b1b"'
            f" {_STYLES[row > 0]}>{escape(line)}</text>"
            for row, line in enumerate(lines)
        )
        return (
            f'<rect x="{self.x - self.width / 2:g}" y="{self.y - self.height / 2:g}"'
            f' width="{self.width}" height="{self.height}" rx="8" fill="{_COLOURS[self.kind]}"'
            f' stroke="#37474f" stroke-width="1.5"/>{texts}'
        )


@dataclass(frozen=True)
class Arrow:
    """An arrow from one box to another. `bend` moves its middle aside; `shift` moves its label."""

    start: str
    end: str
    label: str = ""
    bend: int = 0
    shift: tuple[int, int] = (0, -7)

    def draw(self, boxes: Mapping[str, Box]) -> str:
        a, b = boxes[self.start], boxes[self.end]
        length = ((b.x - a.x) ** 2 + (b.y - a.y) ** 2) ** 0.5
        x = (a.x + b.x) / 2 - (b.y - a.y) / length * self.bend
        y = (a.y + b.y) / 2 + (b.x - a.x) / length * self.bend
        (x1, y1), (x2, y2) = a.edge(x, y), b.edge(x, y)
        line = (
            f'<path d="M{x1:.0f} {y1:.0f}Q{x:.0f} {y:.0f} {x2:.0f} {y2:.0f}" fill="none"'
            ' stroke="#37474f" stroke-width="1.5" marker-end="url(#tip)"/>'
        )
        middle = ((x1 + x2) / 4 + x / 2 + self.shift[0], (y1 + y2) / 4 + y / 2 + self.shift[1])
        return line + (
            f'<text x="{middle[0]:.0f}" y="{middle[1]:.0f}" text-anchor="middle" font-size="13"'
            f' fill="#37474f" stroke="#fafafa" stroke-width="4" paint-order="stroke">'
            f"{escape(self.label)}</text>"
            if self.label
            else ""
        )


@dataclass
class Picture:
    """A picture of named boxes and the arrows between them."""

    title: str
    width: int
    height: int
    boxes: Mapping[str, Box]
    arrows: list[Arrow] = field(default_factory=list)

    def svg(self) -> str:
        parts = [arrow.draw(self.boxes) for arrow in self.arrows]
        parts += [box.draw() for box in self.boxes.values()]
        head = _HEAD.format(width=self.width, height=self.height, title=escape(self.title))
        return head + "\n".join(parts) + "\n</svg>\n"


def prediction() -> Picture:
    """The life of a prediction, from the transition table."""
    boxes = {
        Status.STARTING: Box("starting|queued", 130, 150, "wait"),
        Status.PROCESSING: Box("processing|claimed, with a lease", 430, 150, "work", 220),
        Status.SUCCEEDED: Box("succeeded", 760, 60, "good"),
        Status.FAILED: Box("failed", 760, 150, "bad"),
        Status.CANCELED: Box("canceled", 760, 250, "plain"),
        Status.ABORTED: Box("aborted", 130, 300, "plain"),
    }
    bends = {
        (Status.STARTING, Status.PROCESSING): 0,
        (Status.STARTING, Status.FAILED): -150,
        (Status.STARTING, Status.CANCELED): 110,
        (Status.PROCESSING, Status.STARTING): 60,
    }
    arrows = [
        Arrow(before, after, LABELS[before, after], bends.get((before, after), 0))
        for before, afters in TRANSITIONS.items()
        for after in sorted(afters)
    ]
    return Picture("The life of a prediction", 880, 350, boxes, arrows)


def way() -> Picture:
    """The way of one image."""
    boxes = {
        "client": Box("client", 70, 150, width=100),
        "api": Box("api|accepts in milliseconds", 300, 150, "work", 200),
        "blobs": Box("blob store|images", 580, 50, "store", 170),
        "ledger": Box("ledger|records, in Redis", 580, 150, "store", 170),
        "queue": Box("doorbell|Celery, on Redis", 580, 250, "store", 180),
        "worker": Box("worker|claims, decodes, decides", 920, 150, "work", 220),
        "triton": Box("Triton|runs the model", 920, 290, "work", 170),
    }
    arrows = [
        Arrow("client", "api", "image"),
        Arrow("api", "blobs", "1 image", shift=(-22, -8)),
        Arrow("api", "ledger", "2 record"),
        Arrow("api", "queue", "3 ring", shift=(-18, 18)),
        Arrow("queue", "worker", "4 wake", shift=(0, 18)),
        Arrow("worker", "ledger", "5 claim, 7 result"),
        Arrow("blobs", "worker", "image", shift=(12, -8)),
        Arrow("worker", "triton", "6 tensors", shift=(40, 0)),
    ]
    return Picture("The way of one image", 1050, 340, boxes, arrows)


def queue() -> Picture:
    """Priorities, and keys in turn."""
    boxes = {
        "high": Box("high|priority", 110, 60, "wait", 130),
        "normal": Box("normal|priority", 110, 170, "wait", 130),
        "low": Box("low|priority", 110, 280, "wait", 130),
        "a": Box("key camera-7|4,000 predictions, by age", 430, 110, "store", 240),
        "b": Box("key shop|3 predictions, by age", 430, 230, "store", 240),
        "claim": Box("claim|by a worker", 790, 170, "work", 150),
    }
    arrows = [
        Arrow("normal", "a"),
        Arrow("normal", "b"),
        Arrow("a", "claim", "1st, 3rd, 5th turn", shift=(20, -10)),
        Arrow("b", "claim", "2nd, 4th, 6th turn", shift=(20, 20)),
        Arrow("high", "claim", "8 claims of 10 look here first", -90, (60, -4)),
        Arrow("low", "claim", "1 claim of 10 looks here first", 90, (60, 16)),
    ]
    return Picture("Priorities, and keys in turn", 900, 340, boxes, arrows)


def lease() -> Picture:
    """A worker dies, and another finishes."""
    boxes = {
        "claim": Box("claim|worker A, lease", 110, 70, "work", 170),
        "renew": Box("renewed|while A works", 340, 70, "work", 170),
        "dies": Box("A is killed", 560, 70, "bad", 140),
        "gone": Box("the lease ends|no subscription for 4 s", 800, 70, "wait", 200),
        "again": Box("starting|queued again, a lapse counted", 800, 200, "wait", 250),
        "second": Box("claim|worker B, a new owner", 500, 200, "work", 200),
        "end": Box("one result|a late write of A is refused", 180, 200, "good", 250),
    }
    names = list(boxes)
    arrows = [Arrow(a, b) for a, b in pairwise(names)]
    return Picture("A lease, and the death of its worker", 950, 270, boxes, arrows)


def delivery() -> Picture:
    """The life of a webhook's delivery."""
    boxes = {
        "event": Box("a status is recorded", 120, 150, "work", 180),
        "waiting": Box("waiting|filed in the same step", 370, 150, "wait", 190),
        "sending": Box("sending|a sender's lease", 620, 150, "work", 170),
        "delivered": Box("delivered|2xx", 860, 50, "good", 140),
        "stopped": Box("stopped|410", 860, 150, "plain", 140),
        "dead": Box("dead|28 hours, 8 attempts", 840, 260, "bad", 200),
        "superseded": Box("superseded|a start, after its end", 180, 290, "plain", 230),
    }
    arrows = [
        Arrow("event", "waiting"),
        Arrow("waiting", "sending", "due"),
        Arrow("sending", "waiting", "failed: 5 s … 10 h", 70, (0, 18)),
        Arrow("sending", "delivered"),
        Arrow("sending", "stopped"),
        Arrow("sending", "dead"),
        Arrow("waiting", "superseded"),
        Arrow("dead", "waiting", "redeliver", -80, (0, 4)),
    ]
    return Picture("The life of a delivery", 960, 350, boxes, arrows)


def scaling() -> Picture:
    """How workers come and go."""
    boxes = {
        "live": Box("live predictions|ZCARD {default}:live", 140, 90, "store", 220),
        "keda": Box("KEDA|looks every 5 s", 420, 90, "work", 160),
        "hpa": Box("autoscaler|live / 60 pods", 670, 90, "work", 170),
        "workers": Box("workers|0 to 20 pods", 670, 220, "work", 170),
        "triton": Box("Triton|scaled on its own queue", 380, 220, "work", 210),
        "recent": Box("recent|a submission in 2 minutes", 140, 220, "store", 230),
    }
    arrows = [
        Arrow("live", "keda"),
        Arrow("recent", "keda", "keeps one", shift=(0, 4)),
        Arrow("keda", "hpa"),
        Arrow("hpa", "workers"),
        Arrow("workers", "triton"),
    ]
    return Picture("How workers come and go", 800, 290, boxes, arrows)


PICTURES = {
    "life": prediction,
    "way": way,
    "queue": queue,
    "lease": lease,
    "delivery": delivery,
    "scaling": scaling,
}


def main() -> None:
    """Write every picture."""
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg())


if __name__ == "__main__":
    main()
