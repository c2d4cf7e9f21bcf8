"""Exemplars: the id of a trace beside a measured value, in the OpenMetrics format."""

from collections.abc import Callable

TraceId = Callable[[], str | None]
"""Returns the current trace's id as 32 hexadecimal digits; None where nothing is traced."""


def no_trace() -> str | None:
    """Nothing is traced."""
    return None


class Exemplars:
    """Calls give the exemplar of the current trace, or None."""

    def __init__(self, trace_id: TraceId = no_trace) -> None:
        self._trace_id = trace_id

    def __call__(self) -> dict[str, str] | None:
        trace_id = self._trace_id()
        return {"trace_id": trace_id} if trace_id else None
