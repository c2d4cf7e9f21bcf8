"""Plots of the last hour."""

import re
from datetime import UTC, datetime, timedelta

from sluice.client.results import Minute
from ui import plots

START = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)


def _minute(number: int, **fields: object) -> Minute:
    values = {"backlog": 0, "processing": 0, "workers": 1, "succeeded": 0, "failed": 0}
    values |= {"aborted": 0, "latency_p50_s": None, "latency_p95_s": None}
    at = (START + timedelta(minutes=number)).isoformat()
    return Minute.from_json({"at": at, **values, **fields})


def test_each_plot_has_its_numbers_in_words() -> None:
    markup = plots.plots([_minute(0, backlog=7), _minute(1, backlog=3)])
    assert markup.count("<svg") == 5
    assert "queued and running: now 3, at most 7 in the last hour." in markup
    assert "half of all: now none." in markup


def test_a_minute_without_a_value_is_a_gap() -> None:
    minutes = [_minute(n, latency_p50_s=None if n == 2 else 0.5) for n in range(5)]
    latency = plots.plots(minutes).split("<figure>")[4]
    (line,) = re.findall(r'class="line first" d="([^"]*)"', latency)
    assert line.count("M") == 2


def test_the_highest_value_is_at_the_top_and_none_is_outside() -> None:
    markup = plots.plots([_minute(0, workers=4), _minute(1, workers=2)])
    (line,) = re.findall(r'class="line first" d="([^"]*)"', markup.split("<figure>")[2])
    heights = [float(y) for y in re.findall(r" ([\d.]+)", line)]
    assert min(heights) == 10
    assert max(heights) == 69


def test_the_table_begins_with_the_last_minute() -> None:
    rows = re.findall(r"<td>(10:\d\d)</td>", plots.numbers([_minute(0), _minute(1)]))
    assert rows == ["10:01", "10:00"]


def test_an_hour_without_any_minute_is_drawn() -> None:
    assert "now none" in plots.plots([])
