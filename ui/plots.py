"""Plots of the last hour as SVG, without any script. Each has its numbers in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sluice.client.results import Minute
from ui.markup import table, text_of, time_of

_WIDTH, _HEIGHT = 560, 150
_LEFT, _TOP, _BOTTOM = 46, 10, 22
_STYLES = ("first", "second", "third")  # a line's class in page.css


@dataclass(frozen=True)
class Series:
    """One line of a plot. A value that is None leaves a gap."""

    name: str
    values: Sequence[float | None]


def plots(minutes: Sequence[Minute]) -> str:
    """The plots of backlog, workers, throughput, latency and failures."""
    figures = [
        _plot(
            "Backlog",
            "predictions",
            [
                Series("queued and running", [minute.backlog for minute in minutes]),
                Series("running", [minute.processing for minute in minutes]),
            ],
        ),
        _plot("Workers", "processes", [Series("alive", [minute.workers for minute in minutes])]),
        _plot(
            "Throughput",
            "a minute",
            [Series("succeeded", [minute.succeeded for minute in minutes])],
        ),
        _plot(
            "Latency",
            "seconds",
            [
                Series("half of all", [minute.latency_p50_s for minute in minutes]),
                Series("95 in 100", [minute.latency_p95_s for minute in minutes]),
            ],
        ),
        _plot(
            "Failures",
            "a minute",
            [
                Series("failed", [minute.failed for minute in minutes]),
                Series("aborted", [minute.aborted for minute in minutes]),
            ],
        ),
    ]
    return f'<div class="plots">{"".join(figures)}</div>'


def numbers(minutes: Sequence[Minute]) -> str:
    """The same numbers as a table, the last minute first."""
    head = ["minute (UTC)", "backlog", "running", "workers", "succeeded", "failed", "aborted"]
    rows: list[list[object]] = [
        [
            time_of(minute.at)[11:16],
            minute.backlog,
            minute.processing,
            minute.workers,
            minute.succeeded,
            minute.failed,
            minute.aborted,
            minute.latency_p50_s,
            minute.latency_p95_s,
        ]
        for minute in reversed(minutes)
    ]
    return table("The last hour by minutes", [*head, "latency 50 % (s)", "latency 95 % (s)"], rows)


def _plot(title: str, unit: str, lines: Sequence[Series]) -> str:
    known = [value for line in lines for value in line.values if value is not None]
    top = max([1.0, *known]) if unit != "seconds" else max([0.1, *known])
    paths = "".join(
        f'<path class="line {style}" d="{_path(line.values, top)}"/>'
        for style, line in zip(_STYLES, lines, strict=False)
    )
    keys = "".join(
        f'<span class="key {style}">{escape(line.name)}: {_last(line.values)}</span>'
        for style, line in zip(_STYLES, lines, strict=False)
    )
    label = f"{title}, {unit}. " + " ".join(_in_words(line) for line in lines)
    bottom = _HEIGHT - _BOTTOM
    return (
        f"<figure><figcaption><b>{escape(title)}</b> <small>{escape(unit)}</small> {keys}"
        f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">'
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_WIDTH}" y2="{_TOP}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH}" y2="{bottom}"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 5}" text-anchor="end">{text_of(float(top))}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{len(lines[0].values)} minutes ago</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">now</text>'
        f"{paths}</svg></figure>"
    )


def _path(values: Sequence[float | None], top: float) -> str:
    """The line as SVG's path. A value without neighbours is a short dash."""
    step = (_WIDTH - _LEFT) / max(1, len(values) - 1)
    height = _HEIGHT - _BOTTOM - _TOP
    parts, follows = [], False
    for index, value in enumerate(values):
        if value is None:
            follows = False
            continue
        x, y = _LEFT + index * step, _TOP + height * (1 - value / top)
        parts.append(f"L{x:.1f} {y:.1f}" if follows else f"M{x - 1:.1f} {y:.1f}L{x:.1f} {y:.1f}")
        follows = True
    return "".join(parts)


def _last(values: Sequence[float | None]) -> str:
    return text_of(values[-1]) if values and values[-1] is not None else "none"


def _in_words(line: Series) -> str:
    known = [value for value in line.values if value is not None]
    most = f", at most {text_of(max(known))} in the last hour" if known else ""
    return f"{line.name}: now {_last(line.values)}{most}."
