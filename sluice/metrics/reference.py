"""The metrics as a page of Markdown, which is docs/reference/metrics.md."""

from collections.abc import Callable, Iterator
from typing import Any

from sluice.counts import EventCounts
from sluice.metrics.attempts import AttemptMetrics, add_worker
from sluice.metrics.deliveries import DeliveryMetrics
from sluice.metrics.http import HttpMetrics
from sluice.metrics.process import add_process
from sluice.metrics.queue import QueueMetrics
from sluice.metrics.recorder import Described, Recorder
from sluice.metrics.sweeps import SweepMetrics

_HEAD = """\
# Metrics

<!-- Written by `python -m sluice.metrics > docs/reference/metrics.md`. Do not edit. -->

Each process exposes its own metrics, in Prometheus's text format and in OpenMetrics.
The api has them at `/metrics` on its own port.
Workers, keepers and senders have them at `/metrics` on the port `SLUICE_METRICS_PORT`.
[Monitoring](../guide/monitoring.md) has the dashboards and the alerts.

Counters begin at 0 when their process starts.
Names end with the unit, and those of counters with `_total`.
No label has a value that a client can invent.
A process shows the first 30 models by their names, and further ones as `other`.

A histogram `name` has the series `name_bucket`, `name_sum` and `name_count`.
A summary has the last two.
"""


def _worker(recorder: Recorder) -> None:
    add_worker(
        recorder,
        slots=0,
        running=lambda: 0,
        breaker_is_open=lambda: False,
        triton_errors=EventCounts(),
    )


def _slots(recorder: Recorder) -> None:
    DeliveryMetrics(recorder).add_slots(0, lambda: 0)


Group = Callable[[Recorder], Any]
#: The processes, and the groups of metrics that each has.
PARTS: dict[str, tuple[Group, ...]] = {
    "api": (HttpMetrics, QueueMetrics),
    "worker": (AttemptMetrics, SweepMetrics, _worker),
    "keeper": (SweepMetrics,),
    "sender": (_slots,),
}
_TITLES: tuple[tuple[str, str, Group], ...] = (
    ("HTTP and submissions", "The api exposes these.", HttpMetrics),
    (
        "The queue and Redis",
        "Every api exposes these, and all show the same, so queries take the largest.",
        QueueMetrics,
    ),
    ("Attempts", "Workers expose these.", AttemptMetrics),
    ("The worker", "Workers expose these.", _worker),
    ("Sweeps", "Workers and keepers expose these.", SweepMetrics),
    ("Deliveries", "Senders expose these.", _slots),
    ("Every process", "All processes expose these.", add_process),
)


def described(*groups: Group) -> list[Described]:
    """The metrics of some groups."""
    recorder = Recorder()
    for group in groups:
        group(recorder)
    return recorder.described


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for title, sentence, group in _TITLES:
        yield f"## {title}\n\n{sentence}\n"
        yield "| metric | kind | labels | meaning |"
        yield "| --- | --- | --- | --- |"
        for metric in described(group):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |"
        yield ""
