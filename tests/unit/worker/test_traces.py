"""The spans of attempts at predictions and webhooks."""

from typing import Any

import pytest

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    OutgoingDelivery,
)
from sluice.errors import TritonUnavailable
from sluice.prediction import Claim, Prediction, Status
from sluice.tracing import current_trace_id, outgoing_headers, parse
from tests.fakes.tracer import MemoryTracer
from worker import attempt_trace
from worker.delivery_trace import DeliveryTrace
from worker.stages import Stages

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0%d"


def _claim(**fields: Any) -> Claim:
    values = {"traceparent": PARENT % 1, "attempts": 1, "created_at": 10.0, "started_at": 12.5}
    prediction = Prediction(
        id="p1", model="codes", status=Status.PROCESSING, **{**values, **fields}
    )
    return Claim(prediction=prediction, owner="host/1")


def _run(tracer: MemoryTracer, claim: Claim, *names: str) -> None:
    trace = attempt_trace.begin(tracer, claim, began_ns=1)
    assert trace
    with trace:
        stages = Stages(trace=trace)
        for name in names:
            with stages(name):
                pass


def test_without_a_tracer_or_a_context_there_is_no_trace() -> None:
    assert attempt_trace.begin(None, _claim(), 0) is None
    assert attempt_trace.begin(MemoryTracer(), _claim(traceparent=""), 0) is None


def test_the_spans_of_an_attempt() -> None:
    tracer = MemoryTracer()
    _run(tracer, _claim(), "predict", "fetch", "inference")
    queue, attempt, *stages = tracer.spans
    assert [span.name for span in stages] == ["claim", "fetch", "inference"]
    assert {span.parent for span in stages} == {attempt.context}
    assert queue.parent == attempt.parent == parse(PARENT % 1)
    assert (queue.end_ns - queue.start_ns) / 1e9 == pytest.approx(2.5)
    assert attempt.links == ()
    assert "sluice.fetch_time" in attempt.attributes


def test_a_later_attempt_waits_from_the_time_it_was_given_back_and_has_a_link() -> None:
    tracer = MemoryTracer()
    _run(tracer, _claim())
    _run(tracer, _claim(attempts=2, queued_at=12.0))
    first, (queue, second) = tracer.spans[1], tracer.spans[3:5]
    assert (queue.end_ns - queue.start_ns) / 1e9 == pytest.approx(0.5)
    assert second.links == (first.context,)
    assert second.context.span_id != first.context.span_id


def test_stages_without_number_are_left_out() -> None:
    tracer = MemoryTracer(max_spans=8)
    _run(tracer, _claim(), *["inference"] * 100)
    assert len(tracer.spans) == 8
    assert tracer.spans[1].attributes["sluice.spans_left_out"] == 95


def test_an_image_of_a_batch_has_two_spans() -> None:
    tracer = MemoryTracer()
    _run(tracer, _claim(batch="b1"), "fetch")
    assert [span.name for span in tracer.spans] == ["queue", "attempt"]


def test_a_call_in_a_stage_has_the_stages_context() -> None:
    tracer = MemoryTracer()
    assert outgoing_headers() is None
    trace = attempt_trace.begin(tracer, _claim(tracestate="a=1"), began_ns=1)
    assert trace
    with trace, Stages(trace=trace)("inference"):
        headers, trace_id = outgoing_headers(), current_trace_id()
    stage = tracer.spans[-1]
    assert headers == {"traceparent": stage.context.traceparent, "tracestate": "a=1"}
    assert trace_id == stage.context.trace_id
    assert outgoing_headers() is None


def test_an_error_is_on_the_span_and_the_stage_ends() -> None:
    tracer = MemoryTracer()
    trace = attempt_trace.begin(tracer, _claim(), began_ns=1)
    assert trace
    trace.error = TritonUnavailable.code
    with pytest.raises(TritonUnavailable), trace, Stages(trace=trace)("inference"):
        raise TritonUnavailable("away")
    assert tracer.spans[1].error == TritonUnavailable.code
    assert tracer.spans[-1].name == "inference"


def test_a_trace_that_is_not_sampled_has_no_spans_and_goes_on() -> None:
    tracer = MemoryTracer()
    trace = attempt_trace.begin(tracer, _claim(traceparent=PARENT % 0), began_ns=1)
    assert trace
    with trace, Stages(trace=trace)("inference"):
        headers = outgoing_headers()
        assert current_trace_id() is None
    assert headers
    assert headers["traceparent"].endswith("-00")
    assert tracer.spans == []


def _delivery(**fields: Any) -> Delivery:
    values: dict[str, Any] = {
        "id": "p1_completed",
        "kind": "prediction",
        "subject_id": "p1",
        "event": "completed",
        "url": "http://example.com/?token=hidden",
        "key": "team",
        "status": DeliveryStatus.SENDING,
        "created_at": 1.0,
        "attempts": 1,
        "traceparent": PARENT % 1,
    }
    return Delivery(**{**values, **fields})


def _end(trace: DeliveryTrace, delivery: Delivery, status: int) -> None:
    outgoing = OutgoingDelivery(delivery, "owner", 1.0, b"", {}, ())
    result = AttemptResult.DELIVERED if status < 300 else AttemptResult.FAILED
    attempt = DeliveryAttempt(at=1.0, duration_s=0.1, status=status)
    trace.end(AttemptOutcome(outgoing, result, attempt))


def test_a_webhook_with_tracing_off_has_the_callers_context() -> None:
    delivery = _delivery(tracestate="a=1")
    trace = DeliveryTrace(None, delivery)
    assert trace.headers == {"traceparent": PARENT % 1, "tracestate": "a=1"}
    _end(trace, delivery, 204)
    assert DeliveryTrace(None, _delivery(traceparent="")).headers == {}


def test_each_attempt_at_a_webhook_is_a_span_with_a_link() -> None:
    tracer = MemoryTracer()
    for number, status in ((1, 500), (2, 204)):
        delivery = _delivery(attempts=number)
        trace = DeliveryTrace(tracer, delivery)
        assert trace.headers["traceparent"] != PARENT % 1
        _end(trace, delivery, status)
    first, second = tracer.spans
    assert (first.error, second.error) == ("500", None)
    assert second.links == (first.context,)
    assert "hidden" not in str(tracer.spans)
