"""Spans, and the tracer that records them. Nothing here imports OpenTelemetry."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from sluice.settings import TracingSettings
from sluice.tracing.context import TraceContext

Attribute = str | int | float | bool
Kind = Literal["internal", "server", "client", "consumer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An ended span. Times are nanoseconds since the epoch, by this machine's clock."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    start_ns: int
    end_ns: int
    kind: Kind = "internal"
    attributes: Mapping[str, Attribute]
    links: tuple[TraceContext, ...] = ()
    """Spans of earlier attempts."""
    error: str | None = None
    """Code of the error that ended the span."""


class Tracer(Protocol):
    """Records spans. Every method is quick and thread-safe, and raises nothing."""

    max_spans: int
    """The most spans of one attempt."""

    def begin(self, received: TraceContext | None, name: str) -> TraceContext:
        """Return a new span of this process, below the caller's span if there is one.

        The sampler decides whether the span is recorded.
        """

    def record(self, *spans: Span) -> None:
        """Take ended spans. Spans of a trace that is not sampled are dropped."""

    def close(self) -> None:
        """Send what is left, within the time that the settings give."""


def open_tracer(settings: TracingSettings, part: str) -> Tracer | None:
    """Return the tracer of the process `part`, or None where tracing is off.

    Raises ValueError where a package is missing, or where a variable of OpenTelemetry is wrong.
    """
    if settings.exporter == "none":
        return None
    try:
        from sluice.tracing.otlp import open_otlp  # noqa: PLC0415 - needs the extra `otlp`
    except ModuleNotFoundError as error:
        raise ValueError(
            f"SLUICE_TRACING_EXPORTER is otlp, and {error.name} is missing: install sluice[otlp]"
        ) from None
    return open_otlp(settings, part)


def now_ns() -> int:
    return time.time_ns()
