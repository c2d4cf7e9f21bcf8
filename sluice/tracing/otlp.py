"""The export of spans by OTLP over HTTP, with OpenTelemetry's SDK.

The SDK's queue is bounded and drops spans when it is full, so an absent collector slows nothing.
"""

import contextlib
import os
import socket
import threading

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from sluice.settings import TracingSettings
from sluice.tracing.context import TraceContext, random_span_id, random_trace_id
from sluice.tracing.spans import Span

_SCOPE = InstrumentationScope("sluice")
_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}


def open_otlp(settings: TracingSettings, part: str) -> "OtlpTracer | None":
    """Return a tracer by the variables OTEL_…; None where OTEL_SDK_DISABLED is true."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    return OtlpTracer(settings, part)


class OtlpTracer:
    """Hands spans to a thread, which sends them. The thread survives no fork; none is made."""

    def __init__(self, settings: TracingSettings, part: str) -> None:
        instance = f"{socket.gethostname()}/{os.getpid()}"
        own = {"service.name": f"sluice-{part}", "service.instance.id": instance}
        self._resource = Resource.create(own).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._sampler = provider.sampler  # the one of OTEL_TRACES_SAMPLER
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._end_s = settings.end_s
        self.max_spans = settings.max_spans

    def begin(self, received: TraceContext | None, name: str) -> TraceContext:
        trace_id = received.trace_id if received else random_trace_id()
        parent = trace.NonRecordingSpan(_context(received)) if received else trace.INVALID_SPAN
        result = self._sampler.should_sample(
            trace.set_span_in_context(parent, Context()), int(trace_id, 16), name
        )
        state = received.state if received else ""
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        return TraceContext(trace_id, random_span_id(), sampled, state, own=True)

    def record(self, *spans: Span) -> None:
        # An error of the SDK loses spans, never a prediction.
        with contextlib.suppress(Exception):
            for span in spans:
                self._processor.on_end(self._readable(span))

    def close(self) -> None:
        # The SDK waits for 30 s, and for a request that is under way.
        ending = threading.Thread(target=self._processor.shutdown, name="spans-end", daemon=True)
        ending.start()
        ending.join(self._end_s)

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context),
            parent=_context(span.parent) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            links=[trace.Link(_context(link)) for link in span.links],
            kind=_KINDS[span.kind],
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
        )


def _context(context: TraceContext) -> trace.SpanContext:
    return trace.SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=not context.own,
        trace_flags=trace.TraceFlags(int(context.sampled)),
        trace_state=trace.TraceState.from_header([context.state] if context.state else []),
    )
