"""Figures of the experiment as SVG, in the shapes of the cookbook's.

For each plan there are two: how long the calls took, and how long the sessions took. A last one
shows how large bursts ended. Handlers have one colour each, from a palette that stays distinct
with impaired colour vision. Every row has its name beside it.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from benchmarks.cookbook.rows import Burst, Row, percentile

# Okabe and Ito, "Color Universal Design", https://jfly.uni-koeln.de/color
COLOURS = {"sync": "#d55e00", "async": "#b8860b", "ensemble": "#009e73", "queue": "#0072b2"}
INK, FAINT, LINES = "#222222", "#666666", "#dddddd"
WIDTH, LEFT, RIGHT = 760, 120, 24
BINS = 60


@dataclass
class Drawing:
    """An SVG under construction. Coordinates are pixels from the top left corner."""

    title: str
    described: str
    """The content in words, for readers who see no figure."""
    height: int
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, words: str, *, size: int = 13, anchor: str = "start",
        colour: str = INK, bold: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        more = ' font-weight="600"' if bold else ""
        more += f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{colour}"{more}>{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' fill="{colour}"/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1,
        dashes: str = "",
    ) -> None:  # fmt: skip
        more = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' stroke="{colour}" stroke-width="{width}"{more}/>'
        )

    def svg(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
                ' role="img" font-family="system-ui, sans-serif">',
                f"<title>{escape(self.title)}</title>",
                f"<desc>{escape(self.described)}</desc>",
                f'<rect width="{WIDTH}" height="{self.height}" rx="6" fill="#ffffff"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


@dataclass(frozen=True)
class Group:
    """The calls of one handler by one plan."""

    handler: str
    replicas: int
    rows: Sequence[Row]

    @property
    def label(self) -> str:
        return f"{self.handler.capitalize()} x {self.replicas}"

    @property
    def seconds(self) -> list[float]:
        """The seconds of each call that was answered."""
        return [row.result_s for row in self.rows if row.status == "ok"]

    @property
    def inside(self) -> list[float]:
        """The seconds inside the handler, of each call that was answered."""
        return [row.inside_s for row in self.rows if row.inside_s is not None]

    @property
    def ends(self) -> list[float]:
        """The end of each session."""
        sessions = sorted({row.session for row in self.rows})
        return [
            max(row.start_s + row.result_s for row in self.rows if row.session == session)
            for session in sessions
        ]


def longest(groups: Sequence[Group]) -> float:
    """The end of the axis for calls: all but the last hundredth of each group fit."""
    ends = [percentile(sorted(group.seconds), 0.99) for group in groups if group.seconds]
    return ticks(max(ends))[-1]


def each(plan: str, groups: Sequence[Group], limit: float) -> str:
    """A histogram of the calls' seconds at the client for each group, over the same axes."""
    row_height, top = 46, 74
    drawing = Drawing(
        f"{plan}: the seconds of each call, at the client",
        "; ".join(_in_words(group) for group in groups),
        top + row_height * len(groups) + 52,
    )
    drawing.text(16, 26, drawing.title, size=16, bold=True)
    drawing.line(18, 44, 34, 44, INK, width=2)
    drawing.text(40, 48, "mean at the client", colour=FAINT)
    drawing.line(178, 44, 194, 44, INK, width=2, dashes="3 3")
    drawing.text(200, 48, "mean inside the handler", colour=FAINT)
    drawing.text(WIDTH - RIGHT, 48, f"bars: calls in {limit / BINS:.3g} s", anchor="end",
                 colour=FAINT)  # fmt: skip
    counts = [_histogram(group.seconds, limit) for group in groups]
    most = max(max(row) for row in counts)
    scale = (WIDTH - LEFT - RIGHT) / limit
    bottom = top + row_height * len(groups)
    _grid(drawing, limit, scale, top, bottom, "seconds from the call to its result")
    for number, (group, row) in enumerate(zip(groups, counts, strict=True)):
        base = top + row_height * (number + 1) - 4
        drawing.text(LEFT - 12, base - 12, group.label, anchor="end", bold=True)
        drawing.line(LEFT, base, WIDTH - RIGHT, base, LINES)
        for place, count in enumerate(row):
            if count:
                height = max(1.5, count / most * (row_height - 10))
                width = limit / BINS * scale
                drawing.box(LEFT + place * width, base - height, width - 0.6, height,
                            COLOURS[group.handler])  # fmt: skip
        for values, dashes in ((group.seconds, ""), (group.inside, "3 3")):
            if values:
                x = LEFT + min(limit, statistics.fmean(values)) * scale
                drawing.line(x, base - row_height + 8, x, base, INK, width=2, dashes=dashes)
    drawing.text(WIDTH - RIGHT, bottom + 42, f"the highest bar is {most} calls; the last bar"
                 " holds all longer calls", anchor="end", size=11, colour=FAINT)  # fmt: skip
    return drawing.svg()


def total(plan: str, groups: Sequence[Group], limit: float) -> str:
    """The end of each session as a bar, by group. `limit` is the end of the axis in seconds."""
    top, base = 60, 330
    drawing = Drawing(
        f"{plan}: the seconds until the last call of a session has its result",
        "; ".join(f"{group.label}: {statistics.fmean(group.ends):.2f} s" for group in groups),
        396,
    )
    drawing.text(16, 26, drawing.title, size=16, bold=True)
    drawing.text(16, 46, "one bar a session; the number is their mean", colour=FAINT)
    left = 56
    scale = (base - top) / limit
    for tick in ticks(limit):
        drawing.line(left, base - tick * scale, WIDTH - RIGHT, base - tick * scale, LINES)
        drawing.text(left - 6, base - tick * scale + 4, f"{tick:g}", anchor="end", colour=FAINT)
    drawing.text(18, (top + base) / 2, "seconds", anchor="middle", turned=True, colour=FAINT)
    space = (WIDTH - left - RIGHT) / len(groups)
    for number, group in enumerate(groups):
        x, width = left + space * number + space * 0.12, space * 0.76 / len(group.ends)
        for place, end in enumerate(group.ends):
            height = min(end, limit) * scale
            drawing.box(x + place * width, base - height, width * 0.9, height,
                        COLOURS[group.handler])  # fmt: skip
        middle = left + space * (number + 0.5)
        highest = base - min(max(group.ends), limit) * scale
        mean = f"{statistics.fmean(group.ends):.2f}"
        drawing.text(middle, highest - 6, mean, anchor="middle", bold=True)
        drawing.text(middle, base + 20, group.handler.capitalize(), anchor="middle")
        drawing.text(middle, base + 38, f"x {group.replicas}", anchor="middle")
    drawing.text(WIDTH / 2, base + 58, "handler and replicas", anchor="middle", colour=FAINT)
    return drawing.svg()


def bursts(ends: Sequence[tuple[str, Burst]], timeout_s: float) -> str:
    """The ends of calls that began at once, as shares of each burst."""
    row_height, top = 30, 74
    drawing = Drawing(
        "At once: the calls with a result, without one in time, and failed",
        "; ".join(
            f"{handler}, {end.at_once} at once: {end.answered} of {end.calls} answered,"
            f" {end.timeouts} timed out, {end.errors} failed"
            for handler, end in ends
        ),
        top + row_height * len(ends) + 44,
    )
    drawing.text(16, 26, drawing.title, size=16, bold=True)
    legend = (("a result", COLOURS["queue"]), (f"no answer in {timeout_s:g} s", "#bbbbbb"),
              ("failed", INK))  # fmt: skip
    for number, (words, colour) in enumerate(legend):
        drawing.box(18 + 160 * number, 38, 12, 12, colour)
        drawing.text(36 + 160 * number, 49, words, colour=FAINT)
    left, width = 170, WIDTH - 170 - 150
    for number, (handler, end) in enumerate(ends):
        y, x = top + row_height * number, float(left)
        drawing.text(left - 12, y + 15, f"{handler.capitalize()}, {end.at_once:,}", anchor="end",
                     bold=True)  # fmt: skip
        counts = ((end.answered, COLOURS[handler]), (end.timeouts, "#bbbbbb"), (end.errors, INK))
        for count, colour in counts:
            if count:
                part = count / end.calls * width
                drawing.box(x, y, part, row_height - 9, colour)
                x += part
        drawing.text(left + width + 10, y + 15, f"{end.answered:,} of {end.calls:,}")
    base = top + row_height * len(ends) + 12
    for share in (0, 25, 50, 75, 100):
        x = left + share / 100 * width
        drawing.line(x, top - 6, x, base - 8, LINES)
        drawing.text(x, base + 8, f"{share} %", anchor="middle", colour=FAINT)
    drawing.text(left + width / 2, base + 26, "share of the calls", anchor="middle", colour=FAINT)
    return drawing.svg()


def ticks(limit: float) -> list[float]:
    """Round numbers from 0 to the first that is not below `limit`, at most eight of them."""
    step = next(
        number * 10.0**power
        for power in range(-4, 6)
        for number in (1, 2, 2.5, 5)
        if limit / (number * 10.0**power) < 7.001
    )
    count = math.ceil(limit / step - 0.001)
    return [round(step * number, 6) for number in range(count + 1)]


def _histogram(seconds: Sequence[float], limit: float) -> list[int]:
    counts = [0] * BINS
    for value in seconds:
        counts[min(BINS - 1, int(value / limit * BINS))] += 1
    return counts


def _grid(
    drawing: Drawing, limit: float, scale: float, top: float, bottom: float, words: str
) -> None:
    for tick in ticks(limit):
        x = LEFT + tick * scale
        drawing.line(x, top, x, bottom, LINES)
        drawing.text(x, bottom + 16, f"{tick:g}", anchor="middle", colour=FAINT)
    drawing.text(LEFT, bottom + 42, words, colour=FAINT)


def _in_words(group: Group) -> str:
    if not group.seconds:
        return f"{group.label}: no answer"
    mean, inside = statistics.fmean(group.seconds), statistics.fmean(group.inside)
    return f"{group.label}: {mean:.2f} s at the client, {inside:.2f} s inside"
