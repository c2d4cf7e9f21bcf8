"""A line in both forms: its fields, one line, and nothing secret."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from sluice import logs
from sluice.logs.formats import ConsoleFormatter, JsonFormatter
from sluice.logs.redact import MAX_CHARS, redact
from sluice.logs.setup import mark_logged
from sluice.settings import LogSettings
from sluice.tracing import TraceContext, use

log = logs.get("worker.runner")
TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)


@pytest.fixture
def untouched() -> Iterator[None]:
    """Restore what `configure` changes in this process."""
    root, filters = logging.getLogger(), warnings.filters[:]
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    warnings.filters[:] = filters
    sys.excepthook = hook


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def record(message: object, **values: Any) -> logging.LogRecord:
    made = logging.LogRecord("worker.runner", logging.WARNING, "", 0, message, (), None)
    made.__dict__.update(values)
    return made


@pytest.mark.usefixtures("untouched")
def test_a_json_line_has_the_fields_of_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "predictions")
    with logs.about(prediction="p1", key="team", model="codes"), use(TRACE):
        log.warning("prediction_retried", "a prediction is tried again", delay_s=1.23456789)
    log.debug("lease_not_renewed", "not written at INFO")
    (line,) = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "part": "predictions",
        "event": "prediction_retried",
        "message": "a prediction is tried again",
        "logger": "worker.runner",
        "prediction": "p1",
        "key": "team",
        "model": "codes",
        "trace_id": TRACE.trace_id,
        "delay_s": 1.234568,
    }


@pytest.mark.usefixtures("untouched")
def test_an_error_is_one_line_with_its_stack(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "api")
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        log.exception("request_failed", "a request met an unexpected error")
        mark_logged(error)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    (line,) = lines(capsys)
    assert line["exception"] == "ValueError"
    assert "two\nlines" in line["stack"]
    assert line["level"] == "ERROR"


@pytest.mark.usefixtures("untouched")
def test_libraries_and_warnings_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json", level="DEBUG"), "api")
    logging.getLogger("celery.worker").info("started %s", "now")
    logging.getLogger("celery.worker").debug("headers: secret")
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com/?token=1")
    logging.getLogger("celery.worker.strategy").info("Task sluice.predict received")
    logging.getLogger("celery.app.trace").info("Task sluice.predict succeeded")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = lines(capsys)
    assert (first["event"], first["logger"], first["message"]) == (
        "library",
        "celery.worker",
        "started now",
    )
    assert second["logger"] == "py.warnings"


@pytest.mark.usefixtures("untouched")
def test_an_unhandled_error_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(format="json"), "keeper")
    error = RuntimeError("no")
    sys.excepthook(RuntimeError, error, None)
    (line,) = lines(capsys)
    assert line["event"] == "process_failed"


def test_a_console_line_is_one_line() -> None:
    event = logs.Event("prediction_failed", "a prediction failed", {"error": "a\nb\x1b[31m\x85"})
    line = ConsoleFormatter().format(record(event))
    assert line.endswith(
        "WARNING worker.runner prediction_failed: a prediction failed error=a\\nb\\x1b[31m\\x85"
    )


def test_the_message_of_a_record_is_readable_to_any_handler() -> None:
    event = logs.Event("worker_gone", "a worker is gone", {"worker": "w1"})
    assert record(event).getMessage() == "worker_gone: a worker is gone worker=w1"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://user:pa55@host:6379/0 is away", "redis://host:6379/0 is away"),
        ("rediss://:pa55@host/0", "rediss://host/0"),
        ("GET https://a.example/x.jpg?token=t#f failed", "GET https://a.example/x.jpg?… failed"),
        ("https://user@a.example#frag", "https://a.example?…"),
        ("path /v1/predictions?wait=10", "path /v1/predictions?…"),
        ("data:image/jpeg;base64,/9j/4AAQ", "data:…"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
        (f"key sluice_{'k' * 43}", "key sluice_…"),
        ("whsec_MfKQ9r8GKYqrTwjU", "whsec_…"),
        ("A" * 500, "…"),
        ("[type=str, input_value='pa55', input_type=str]", "[type=str, input_type=str]"),
        ("is the model loaded? Ask", "is the model loaded? Ask"),
        ("worker host/12/ab34", "worker host/12/ab34"),
    ],
)
def test_no_line_holds_a_secret(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_a_field_has_a_bound() -> None:
    line = json.loads(JsonFormatter("api").format(record("word " * 10_000)))
    assert len(line["message"]) == MAX_CHARS + 1
