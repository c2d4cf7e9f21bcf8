"""The span of one attempt at a webhook, and the trace context that the receiver gets."""

from collections.abc import Mapping

from sluice.delivery import AttemptOutcome, AttemptResult, Delivery
from sluice.tracing import Span, TraceContext, Tracer, now_ns, parse
from sluice.tracing.spans import Attribute


class DeliveryTrace:
    """The span of one attempt. With tracing off, the record's trace context is passed on."""

    def __init__(self, tracer: Tracer | None, delivery: Delivery) -> None:
        self._tracer = tracer
        self._delivery = delivery
        self._parent = parse(delivery.traceparent, delivery.tracestate)
        self._start_ns = now_ns() if tracer else 0
        self._context = self._attempt(delivery.attempts) if tracer else self._parent

    @property
    def headers(self) -> Mapping[str, str]:
        """`traceparent` and `tracestate` for the receiver; empty without a trace."""
        return self._context.headers() if self._context else {}

    def end(self, outcome: AttemptOutcome) -> None:
        """Record the span, with tracing on."""
        if not self._tracer or not self._context or not outcome.attempt:
            return
        attempt, delivery = outcome.attempt, self._delivery
        attributes: dict[str, Attribute] = {
            "sluice.delivery_id": delivery.id,
            "sluice.event": delivery.event,
            "sluice.key": delivery.key,
            "sluice.attempt": delivery.attempts,
        }
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        earlier = self._attempt(delivery.attempts - 1) if delivery.attempts > 1 else None
        delivered = outcome.result is AttemptResult.DELIVERED
        self._tracer.record(
            Span(
                name="webhook",
                context=self._context,
                parent=self._parent,
                start_ns=self._start_ns,
                end_ns=now_ns(),
                kind="client",
                attributes=attributes,
                links=(earlier,) if earlier else (),
                error=None if delivered else attempt.error or str(attempt.status),
            )
        )

    def _attempt(self, number: int) -> TraceContext | None:
        return self._parent and self._parent.derived(f"{self._delivery.id} attempt {number}")
