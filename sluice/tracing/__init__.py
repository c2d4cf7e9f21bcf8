"""Traces: W3C trace context, and spans that are recorded where an exporter is set."""

from sluice.tracing.context import TraceContext, from_headers, parse
from sluice.tracing.current import (
    current_context,
    current_trace_id,
    outgoing_headers,
    set_current,
    use,
)
from sluice.tracing.spans import Span, Tracer, now_ns, open_tracer

__all__ = [
    "Span",
    "TraceContext",
    "Tracer",
    "current_context",
    "current_trace_id",
    "from_headers",
    "now_ns",
    "open_tracer",
    "outgoing_headers",
    "parse",
    "set_current",
    "use",
]
