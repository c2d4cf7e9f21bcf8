"""Metrics: names that Prometheus accepts, bounded labels, and the page that lists them."""

import re
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sluice.counts import EventCounts
from sluice.metrics.attempts import STAGES, AttemptMetrics
from sluice.metrics.exemplars import Exemplars
from sluice.metrics.process import add_process
from sluice.metrics.recorder import OTHER, BoundedNames, Described, Recorder
from sluice.metrics.reference import PARTS, described, reference
from sluice.metrics.sweeps import SweepMetrics
from tests.support.paths import ROOT

UNITS = ("_seconds", "_bytes", "_ratio", "_per_second", "_total", "_fds", "_info")


def _recorder(part: str) -> Recorder:
    recorder = Recorder()
    for group in (*PARTS[part], add_process):
        group(recorder)
    return recorder


def _all() -> Iterator[Described]:
    for groups in PARTS.values():
        yield from described(*groups)


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    assert page == reference(), "run python -m sluice.metrics > docs/reference/metrics.md"


@pytest.mark.parametrize("part", PARTS)
def test_a_process_has_no_name_twice_and_both_formats(part: str) -> None:
    recorder = _recorder(part)
    names = [metric.name for metric in recorder.described]
    assert len(names) == len(set(names))
    assert b"sluice_build_info" in generate_latest(recorder.registry)
    families = text_string_to_metric_families(openmetrics(recorder.registry).decode())
    assert {family.name for family in families} >= {"sluice_redis_errors", "sluice_build_info"}


def test_counters_and_only_they_end_with_total() -> None:
    for metric in _all():
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        assert metric.name.startswith("sluice_")
        if metric.kind == "histogram":
            assert metric.name.endswith("_seconds"), metric
        if "second" in metric.text.lower() and "ten seconds" not in metric.text:
            assert metric.name.endswith(UNITS), metric
        assert metric.text.endswith(".")


def test_no_label_names_a_client() -> None:
    labels = {label for metric in _all() for label in metric.labels}
    assert labels <= {
        *("code", "method", "model", "outcome", "priority", "reason", "result", "route"),
        *("stage", "status", "store"),
    }


def test_the_first_names_are_shown_and_the_others_are_one() -> None:
    bounded = BoundedNames(most=2)
    assert [bounded(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_clients_models_make_a_bounded_number_of_series() -> None:
    recorder = Recorder()
    metrics = AttemptMetrics(recorder)
    for number in range(200):
        metrics.succeeded(f"model-{number}", {"queue_time": 0.1, "weird_time": 1.0})
        metrics.failed(f"never-loaded-{number}", "unknown_model")
    text = generate_latest(recorder.registry).decode()
    models = set(re.findall(r'model="([^"]+)"', text))
    assert len(models) == 31
    assert not any(name.startswith("never") for name in models)
    assert set(re.findall(r'stage="([^"]+)"', text)) == {"queue", OTHER}


def test_the_exemplar_is_the_current_trace() -> None:
    recorder = Recorder()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    metrics = AttemptMetrics(recorder, Exemplars(lambda: trace))
    metrics.succeeded("codes", {"queue_time": 0.1, "predict_time": 0.2})
    assert f'# {{trace_id="{trace}"}} 0.3' in openmetrics(recorder.registry).decode()
    assert Exemplars()() is None


def test_a_dead_letter_is_a_lapse_too() -> None:
    recorder = Recorder()
    metrics = SweepMetrics(recorder)
    metrics.swept(lapsed=2, aborted=1)
    metrics.dead_letter()
    text = generate_latest(recorder.registry).decode()
    assert "sluice_leases_lapsed_total 3.0" in text
    assert "sluice_dead_letters_total 1.0" in text
    assert "sluice_predictions_aborted_total 1.0" in text


def test_counts_are_of_events_and_seconds() -> None:
    counts = EventCounts("a")
    counts.add("b", 0.5)
    counts.add("b", 0.25)
    assert counts.read() == {"a": (0, 0.0), "b": (2, 0.75)}


def test_the_stages_are_those_of_the_worker() -> None:
    texts = [path.read_text() for path in (ROOT / "worker").glob("*.py")]
    used = {stage for text in texts for stage in re.findall(r'stages\("(\w+)"\)', text)}
    assert used | {"queue"} == STAGES
