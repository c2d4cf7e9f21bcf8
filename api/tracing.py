"""The span of one request, for each call that changes something."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice import tracing
from sluice.tracing import Span, TraceContext, Tracer, now_ns
from sluice.tracing.spans import Attribute

_METHODS = ("POST", "PUT")
_HEADER = b"traceparent"
_FAILED = 500
_NO_SPAN = nullcontext()

_request: ContextVar["RequestTrace | None"] = ContextVar("request_trace", default=None)


class RequestTrace:
    """The server's span of one request, and the spans below it."""

    def __init__(
        self, tracer: Tracer, context: TraceContext, received: TraceContext | None
    ) -> None:
        self.context = context
        self.attributes: dict[str, Attribute] = {}
        self._tracer = tracer
        self._received = received
        self._start_ns = now_ns()
        self._spans: list[Span] = []

    @contextmanager
    def child(self, name: str) -> Iterator[None]:
        start_ns = now_ns()
        try:
            yield
        finally:
            self._spans.append(
                Span(
                    name=name,
                    context=self.context.child(),
                    parent=self.context,
                    start_ns=start_ns,
                    end_ns=now_ns(),
                    attributes={},
                )
            )

    def end(self, method: str, route: str, status: int) -> None:
        self._tracer.record(
            Span(
                name=f"{method} {route}",
                context=self.context,
                parent=self._received,
                start_ns=self._start_ns,
                end_ns=now_ns(),
                kind="server",
                attributes={
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    **self.attributes,
                },
                error=str(status) if status >= _FAILED else None,
            ),
            *self._spans,
        )


def begin(tracer: Tracer | None, scope: Scope) -> TraceContext | None:
    """Make the request's span the current one, and return it.

    With tracing off, the caller's span is returned; None without one. Each request has a task of
    its own, so nothing is set back.
    """
    received = tracing.from_headers(scope["headers"])
    if tracer is None:
        if received:
            tracing.set_current(received)
        return received
    context = tracer.begin(received, scope["method"])
    tracing.set_current(context)
    _request.set(RequestTrace(tracer, context, received))
    return context


def end(method: str, route: str, status: int) -> None:
    """Record the request's span, with tracing on."""
    if trace := _request.get():
        trace.end(method, route, status)


def span(name: str) -> AbstractContextManager[None]:
    """Make a span of the block, below that of the request."""
    trace = _request.get()
    return trace.child(name) if trace else _NO_SPAN


def annotate(**attributes: Attribute) -> None:
    """Add attributes to the request's span: `prediction_id` becomes `sluice.prediction_id`."""
    if trace := _request.get():
        trace.attributes |= {f"sluice.{name}": value for name, value in attributes.items()}


class Traced:
    """ASGI middleware. Traces POST and PUT, and adds `traceparent` to their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            await self._app(scope, receive, send)
            return
        services = getattr(scope["app"].state, "services", None)
        context = begin(services.tracer if services else None, scope)
        if context is None:
            await self._app(scope, receive, send)
            return
        status = _FAILED

        async def send_with_trace(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (_HEADER, context.traceparent.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_trace)
        finally:
            end(scope["method"], getattr(scope.get("route"), "path", "none"), status)
