"""The rows of the speed table, and their medians with their spread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

Sample = Mapping[str, float]
Figure = Callable[[Sample, Sample], float]
"""A row's figure from a service's sample and the bare loop's sample of the same round."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    key: str
    title: str
    figure: Figure
    target: str = ""
    """The figure to reach."""
    digits: int = 2
    rises: bool = False
    """More is better."""
    guarded: float = 0.0
    """The share of the figure that the guard always takes for noise. 0: the guard leaves it out."""


class Spread(NamedTuple):
    """The middle and the ends of a figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        middle, low, high = (f"{value:,.{digits}f}" for value in self)
        return middle if low == high else f"{middle} ({low} to {high})"


def spreads(rounds: Sequence[tuple[Sample, Sample]], rows: Sequence[Row]) -> dict[str, Spread]:
    """The spread of each row that was measured. A round has a service's sample and the bare one."""
    found = {}
    for row in rows:
        try:
            found[row.key] = Spread.of([row.figure(*samples) for samples in rounds])
        except (KeyError, ZeroDivisionError):
            continue  # the row was not asked for
    return found


def printed(columns: Mapping[str, Mapping[str, Spread]], rows: Sequence[Row]) -> str:
    """The table as Markdown, with one column for each service."""
    lines = [
        "| " + " | ".join(("row", *columns, "to reach")) + " |",
        "| --- " * (len(columns) + 2) + "|",
    ]
    for row in rows:
        cells = [
            found[row.key].text(row.digits) if row.key in found else ""
            for found in columns.values()
        ]
        if any(cells):
            lines.append("| " + " | ".join((row.title, *cells, row.target)) + " |")
    return "\n".join(lines)


def plain(key: str, factor: float = 1) -> Figure:
    """A number of the service's sample."""
    return lambda service, bare: service[key] * factor


def over(key: str, loop: str) -> Figure:
    """A number of the service's sample, over one of the bare loop's."""
    return lambda service, bare: service[key] / bare[loop]


def _more_ms(model: str) -> Figure:
    return lambda service, bare: service[f"one.{model}_ms"] - bare[f"{model}.ms"]


def _speed(model: str, loop: str, title: str, target: str = "", *, guarded: float = 0.0) -> Row:
    figure = over(f"{model}.per_s", f"{loop}.per_s")
    title = f"16 clients, {title}, over the bare loop"
    return Row(f"{model}.speed", title, figure, target, rises=True, guarded=guarded)


def _cpu(model: str, part: str, target: str = "") -> Row:
    key = f"{model}.cpu.{part}"
    return Row(key, f"CPU a prediction (`{model}`): {part}, ms", plain(key), target)


def _redis(key: str, title: str, target: str = "", *, guarded: float = 0.0) -> Row:
    key = f"codes.redis.{key}"
    return Row(key, f"Redis a prediction: {title}", plain(key), target, guarded=guarded)


_PARTS = {"api": "1.5", "worker": "4", "keeper": "", "webhooks": "", "redis": "0.5", "triton": "17"}

ROWS: tuple[Row, ...] = (
    _speed("ort", "ort", "ONNX Runtime", "1.05", guarded=0.1),
    _speed("ort-plain", "ort", "ONNX Runtime, graph not folded"),
    _speed("ov", "ov", "OpenVINO f32", "1.05", guarded=0.1),
    _speed("ov-plain", "ov", "OpenVINO f32, graph not folded"),
    _speed("codes", "codes", "the shipped `codes` model", "1.10", guarded=0.1),
    Row("ort.cpu", "CPU a prediction (`ort`): all, ms", plain("ort.cpu_ms"), "92", 1),
    Row(
        "ort.cpu.over",
        "CPU a prediction (`ort`), over the bare loop's",
        over("ort.cpu_ms", "ort.cpu_ms"),
        guarded=0.05,
    ),
    *(_cpu("ort", part) for part in _PARTS),
    Row("codes.cpu", "CPU a prediction (`codes`): all, ms", plain("codes.cpu_ms"), "", 1),
    Row(
        "codes.cpu.over",
        "CPU a prediction (`codes`), over the bare loop's",
        over("codes.cpu_ms", "codes.cpu_ms"),
        guarded=0.05,
    ),
    *(_cpu("codes", part, target) for part, target in _PARTS.items()),
    Row("memory.rest", "memory (PSS) at rest, MB", plain("memory.rest_mb"), "400", 0, guarded=0.05),
    Row(
        "memory.loaded",
        "memory (PSS) after load, MB",
        plain("memory.loaded_mb"),
        "550",
        0,
        guarded=0.05,
    ),
    Row("idle", "CPU of an idle stack, % of a core", plain("idle.cores", 100), "1"),
    Row("one.ort", "one client, more than the bare loop, ms", _more_ms("ort"), "5", 1),
    Row(
        "one.codes", "one client (`codes`), more than the bare loop, ms", _more_ms("codes"), "5", 1
    ),
    Row("burst", "100 at once: accept p95, ms", plain("burst.accept_p95_ms"), "40", 0),
    _redis("main_ms", "main thread, ms", "0.4"),
    _redis("commands", "commands", guarded=0.05),
    _redis("scripts", "scripts", guarded=0.05),
    _redis("script_us", "a script, µs"),
    Row(
        "queued",
        "Redis memory a queued prediction, beyond its image, kB",
        plain("queued.bytes", 1e-3),
        "below 2",
        guarded=0.05,
    ),
    Row(
        "nothing",
        "predictions/s with a model that costs nothing",
        plain("nothing.per_s"),
        "400",
        0,
        rises=True,
    ),
    Row(
        "nothing-small",
        "predictions/s with that model, and an image of 64 x 48",
        plain("nothing-small.per_s"),
        "400",
        0,
        rises=True,
    ),
)
