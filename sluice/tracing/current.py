"""The span in which the present code runs: one for each thread or asyncio task."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sluice.tracing.context import TraceContext

_current: ContextVar[TraceContext | None] = ContextVar("span", default=None)


def current_context() -> TraceContext | None:
    """Return the span of the present code. With tracing off, the caller's; None without one."""
    return _current.get()


def current_trace_id() -> str | None:
    """Return the id of the trace that is being recorded, for exemplars; else None."""
    context = _current.get()
    return context.trace_id if context and context.own and context.sampled else None


def set_current(context: TraceContext) -> None:
    """Make `context` the current span until the end of the present task."""
    _current.set(context)


@contextmanager
def use(context: TraceContext | None) -> Iterator[None]:
    """Make `context` the current span within the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def outgoing_headers() -> dict[str, str] | None:
    """Return the headers of a call that the present span makes; None with tracing off."""
    context = _current.get()
    return context.headers() if context and context.own else None
