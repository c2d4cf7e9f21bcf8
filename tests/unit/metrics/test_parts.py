"""Metrics of api, sender and queue: refusals by code, ages, and an absent Redis."""

from prometheus_client import generate_latest

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    OutgoingDelivery,
)
from sluice.ledger.state import ReadyState
from sluice.metrics.deliveries import DeliveryMetrics
from sluice.metrics.http import HttpMetrics
from sluice.metrics.observer import Observer
from sluice.metrics.queue import QueueMetrics, Snapshot
from sluice.metrics.recorder import Recorder
from sluice.redisio.memory import Memory
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.state import MemoryState, empty_state


def _text(recorder: Recorder) -> str:
    return generate_latest(recorder.registry).decode()


def test_a_refused_submission_is_counted_by_its_code() -> None:
    recorder = Recorder()
    metrics = HttpMetrics(recorder)
    metrics.answered("POST", "/v1/predictions", 429, 0.01, "queue_full")
    metrics.answered("POST", "/v1/predictions", 500, 0.01)
    metrics.answered("GET", "/v1/predictions/{id}", 404, 0.01, "not_found")
    metrics.answered("BREW", "none", 404, 0.01, "not_found")
    text = _text(recorder)
    assert 'sluice_predictions_refused_total{code="queue_full"} 1.0' in text
    assert 'sluice_predictions_refused_total{code="internal"} 1.0' in text
    assert 'sluice_predictions_refused_total{code="not_found"} 0.0' in text
    assert "BREW" not in text


def test_the_queue_is_shown_by_priority() -> None:
    recorder = Recorder()
    queue = QueueMetrics(recorder)
    state = empty_state()._replace(ready={"high": ReadyState(3, 1.5)}, dead_letters=2)
    load = MemoryLedger(QueueSettings()).load()
    answers = {"ledger": True, "blobs": False}
    queue.snapshot = Snapshot(load, state, answers, {"ledger": Memory(10, 100)})
    text = _text(recorder)
    assert 'sluice_queue_ready{priority="high"} 3.0' in text
    assert 'sluice_queue_ready_oldest_seconds{priority="high"} 1.5' in text
    assert "sluice_queue_dead_letters 2.0" in text
    assert 'sluice_redis_max_memory_bytes{store="ledger"} 100.0' in text
    assert 'sluice_redis_up{store="blobs"} 0.0' in text
    assert 'used_memory_bytes{store="blobs"}' not in text


def test_an_unavailable_redis_leaves_the_queues_metrics_out() -> None:
    recorder = Recorder()
    queue = QueueMetrics(recorder)
    observer = Observer(MemoryLedger(QueueSettings()), MemoryState(None), {})
    queue.snapshot = observer.read()
    assert queue.snapshot == Snapshot()
    assert "\nsluice_queue_" not in _text(recorder)


def _outcome(result: AttemptResult, attempt: DeliveryAttempt | None) -> AttemptOutcome:
    delivery = Delivery(
        id="d",
        kind="prediction",
        subject_id="p",
        event="completed",
        url="http://127.0.0.1/x?secret=1",
        key="default",
        status=DeliveryStatus.SENDING,
        created_at=100.0,
    )
    outgoing = OutgoingDelivery(delivery, "owner", 103.0, None, {}, ())
    return AttemptOutcome(outgoing, result, attempt)


def test_deliveries_are_counted_by_outcome_and_age() -> None:
    recorder = Recorder()
    metrics = DeliveryMetrics(recorder)
    for result, attempt in (
        (AttemptResult.DELIVERED, DeliveryAttempt(at=103.0, duration_s=0.2, status=200)),
        (AttemptResult.FAILED, DeliveryAttempt(at=103.0, duration_s=0.2, status=503)),
        (AttemptResult.FAILED, DeliveryAttempt(at=103.0, duration_s=15, error="timeout")),
        (AttemptResult.NOT_ATTEMPTED, None),
    ):
        metrics.ended(_outcome(result, attempt))
    text = _text(recorder)
    assert 'sluice_delivery_attempts_total{outcome="failed"} 2.0' in text
    assert 'sluice_delivery_failures_total{reason="http_5xx"} 1.0' in text
    assert 'sluice_delivery_failures_total{reason="timeout"} 1.0' in text
    assert "sluice_deliveries_dead_total 2.0" in text
    assert "sluice_delivery_age_seconds_sum 3.0" in text
    assert "secret" not in text
