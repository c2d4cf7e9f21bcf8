"""The spans of one attempt: the wait in the queue, the attempt, and its stages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sluice.prediction import Claim
from sluice.tracing import Span, TraceContext, Tracer, now_ns, parse, use
from sluice.tracing.spans import Attribute

_OUTER = "predict"
"""The stage that holds the others."""
_FIXED_SPANS = 3
"""The wait, the attempt and its claim."""


def begin(tracer: Tracer | None, claim: Claim, began_ns: int) -> "AttemptTrace | None":
    """Return the trace of an attempt whose claim began at `began_ns`; None without a trace."""
    parent = tracer and parse(claim.prediction.traceparent, claim.prediction.tracestate)
    return AttemptTrace(tracer, claim, parent, began_ns) if tracer and parent else None


class AttemptTrace:
    """Collects the spans of one attempt, on its thread, and records them at its end.

    The stages of a batch's image get no spans: one trace has all images of the batch.
    """

    def __init__(self, tracer: Tracer, claim: Claim, parent: TraceContext, began_ns: int) -> None:
        prediction = claim.prediction
        number = prediction.attempts
        self._tracer = tracer
        self._prediction = prediction
        self._parent = parent
        self._began_ns = began_ns
        self._claimed_ns = now_ns()
        self.context = parent.derived(_label(prediction.id, number))
        self._using = use(self.context)
        # A killed worker records nothing, and yet the link names its attempt.
        self._links = (parent.derived(_label(prediction.id, number - 1)),) if number > 1 else ()
        self._room = 0 if prediction.batch else tracer.max_spans - _FIXED_SPANS
        self._left_out = 0
        self._spans: list[Span] = []
        self.error: str | None = None
        """Code of the error that ended the attempt."""
        self.seconds: Mapping[str, float] = {}
        """The stages' times, by the names of `metrics`."""

    def __enter__(self) -> None:
        """Make the attempt the current span."""
        self._using.__enter__()

    def __exit__(self, *error: object) -> None:
        self._using.__exit__(None, None, None)
        self.end()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Make a span of the block, and the current span within it."""
        if name == _OUTER or not self.context.sampled:
            yield
            return
        context, start_ns = self.context.child(), now_ns()
        try:
            with use(context):
                yield
        finally:
            self._add(name, context, start_ns, now_ns())

    def end(self) -> None:
        """Record all spans."""
        prediction, end_ns = self._prediction, now_ns()
        ids: dict[str, Attribute] = {
            "sluice.prediction_id": prediction.id,
            "sluice.model": prediction.model,
            "sluice.key": prediction.key,
            "sluice.attempt": prediction.attempts,
        }
        times = {f"sluice.{name}": value for name, value in self.seconds.items()}
        if not prediction.batch:
            claim = self.context.child()
            self._spans.insert(0, self._span("claim", claim, self._began_ns, self._claimed_ns))
        if self._left_out:
            ids["sluice.spans_left_out"] = self._left_out
        self._tracer.record(
            Span(
                name="queue",
                context=self._parent.child(),
                parent=self._parent,
                start_ns=self._claimed_ns - int(prediction.waited_s * 1e9),
                end_ns=self._claimed_ns,
                attributes=ids,
            ),
            Span(
                name="attempt",
                context=self.context,
                parent=self._parent,
                start_ns=self._began_ns,
                end_ns=end_ns,
                kind="consumer",
                attributes=ids | times,
                links=self._links,
                error=self.error,
            ),
            *self._spans,
        )

    def _add(self, name: str, context: TraceContext, start_ns: int, end_ns: int) -> None:
        if len(self._spans) < self._room:
            self._spans.append(self._span(name, context, start_ns, end_ns))
        else:
            self._left_out += 1

    def _span(self, name: str, context: TraceContext, start_ns: int, end_ns: int) -> Span:
        return Span(
            name=name,
            context=context,
            parent=self.context,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes={},
        )


def _label(prediction_id: str, number: int) -> str:
    return f"{prediction_id} attempt {number}"
