"""Making metrics: every one is made here, so that a page can list them."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

OTHER = "other"
"""The value of a label in place of one too many."""


@dataclass(frozen=True)
class Described:
    """One metric, as the reference page lists it."""

    name: str
    """The name as queries have it. A histogram adds `_bucket`, `_sum` and `_count`."""
    kind: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    text: str
    """One sentence."""
    labels: tuple[str, ...]


Values = Iterable[tuple[tuple[str, ...], float]]
"""The values of each label, in order, and the value of the metric."""


class Recorder:
    """A registry that remembers what each of its metrics means."""

    def __init__(self) -> None:
        # No second series beside each counter, with the time of its start: `process_…` has it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.described: list[Described] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter; `name` ends with `_total`. One without labels starts at 0."""
        self._describe(name, "counter", text, labels)
        return Counter(name.removesuffix("_total"), text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self._describe(name, "gauge", text, labels)
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float]) -> Histogram:
        """A histogram; `buckets` are the upper bounds, in the unit of the name."""
        self._describe(name, "histogram", text, labels)
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def read(
        self, kind: str, name: str, text: str, *labels: str, values: Callable[[], Values]
    ) -> None:
        """A counter or gauge whose values are read at each scrape. No values: no series."""
        self._describe(name, kind, text, labels)
        self.registry.register(_Read(self.described[-1], values))

    def summary(self, name: str, text: str, values: Callable[[], tuple[int, float]]) -> None:
        """A summary without quantiles; `values` gives the count and the sum at each scrape."""
        self._describe(name, "summary", text, ())
        self.registry.register(_ReadSummary(self.described[-1], values))

    def _describe(self, name: str, kind: str, text: str, labels: tuple[str, ...]) -> None:
        self.described.append(Described(name, kind, text, labels))


class _Read(Collector):
    def __init__(self, described: Described, values: Callable[[], Values]) -> None:
        self._described = described
        self._values = values

    def describe(self) -> Iterable[Metric]:
        metric = self._described
        family = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        return [Metric(family, metric.text, metric.kind)]

    def collect(self) -> Iterable[Metric]:
        (family,) = self.describe()
        for labels, value in self._values():
            named = dict(zip(self._described.labels, labels, strict=True))
            family.add_sample(self._described.name, named, value)
        return [family]


class _ReadSummary(Collector):
    def __init__(self, described: Described, values: Callable[[], tuple[int, float]]) -> None:
        self._described = described
        self._values = values

    def describe(self) -> Iterable[Metric]:
        return [Metric(self._described.name, self._described.text, "summary")]

    def collect(self) -> Iterable[Metric]:
        (family,) = self.describe()
        count, total = self._values()
        family.add_sample(f"{self._described.name}_count", {}, count)
        family.add_sample(f"{self._described.name}_sum", {}, total)
        return [family]


class BoundedNames:
    """Names from outside as values of a label: after the first `most`, each is `other`.

    A model that is removed keeps its place until the process ends.
    """

    def __init__(self, most: int = 30) -> None:
        self._most = most
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> str:
        if name in self._names:
            return name
        with self._lock:
            if len(self._names) < self._most:
                self._names.add(name)
                return name
        return OTHER
