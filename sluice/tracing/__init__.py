"""Traces: W3C trace context, and spans that are recorded where an exporter is set."""

from sluice.tracing.context import TraceContext, from_headers, parse
from sluice.tracing.current import current, current_trace_id, use

__all__ = ["TraceContext", "current", "current_trace_id", "from_headers", "parse", "use"]
