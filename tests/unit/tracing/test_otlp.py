"""The exporter: the setting, the standard variables, and a collector that hangs."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from sluice.settings import TracingSettings
from sluice.tracing import Span, TraceContext, Tracer, open_tracer
from tests.support.loopback import Handler, serving
from tests.support.otlp import collecting
from tests.support.waiting import until

OTLP = TracingSettings(exporter="otlp", end_s=0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return


def _opened() -> Tracer:
    tracer = open_tracer(OTLP, "api")
    assert tracer
    return tracer


def _span(context: TraceContext) -> Span:
    return Span(
        name="work", context=context, parent=None, start_ns=1, end_ns=2, attributes={"a": 1}
    )


def test_off_imports_no_exporter() -> None:
    # FastAPI imports OpenTelemetry's interface by itself, where it is installed.
    code = (
        "import sys, api.app, worker.predictions_process, worker.webhooks_process;"
        "from sluice.settings import TracingSettings; from sluice.tracing import open_tracer;"
        "assert open_tracer(TracingSettings(), 'api') is None;"
        "names = ('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'sluice.tracing.otlp');"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_error_of_the_exporter_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracer = _opened()
    monkeypatch.setattr(tracer, "_processor", None)
    tracer.record(_span(tracer.begin(None, "POST")))


def test_spans_arrive_with_the_resource_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracer = _opened()
        context = tracer.begin(None, "POST")
        tracer.record(_span(context))
        (span,) = until(collector.spans)
        tracer.close()
    assert (span.service, span.trace_id, span.span_id) == (
        "mine",
        context.trace_id,
        context.span_id,
    )
    assert span.attributes == {"a": 1}


@pytest.mark.parametrize(
    ("sampler", "received", "sampled"),
    [
        (None, None, True),
        (None, False, False),
        (None, True, True),
        ("always_off", True, False),
        ("parentbased_always_off", None, False),
        ("parentbased_always_off", True, True),
    ],
)
def test_the_sampler_and_the_caller_decide(
    monkeypatch: pytest.MonkeyPatch, sampler: str | None, received: bool | None, sampled: bool
) -> None:
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    tracer = _opened()
    caller = None if received is None else TraceContext("1" * 32, "2" * 16, sampled=received)
    context = tracer.begin(caller, "POST")
    tracer.close()
    assert context.sampled is sampled
    assert context.own
    if caller:
        assert context.trace_id == caller.trace_id


def test_the_sdk_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_tracer(OTLP, "api") is None


def test_a_collector_that_hangs_blocks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def hang(handler: Handler) -> None:
        asked.set()
        go_on.wait(20)
        handler.reply(200)

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "600")
    with serving(hang) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.port}")
        tracer = _opened()
        context = tracer.begin(None, "POST")
        tracer.record(_span(context))
        assert asked.wait(20)
        tracer.record(*[_span(context)] * 2000)  # more than the queue takes
        before = time.monotonic()
        tracer.close()
        ended_s = time.monotonic() - before
        go_on.set()
    assert ended_s < 10  # without a bound the SDK would wait for 30 s
