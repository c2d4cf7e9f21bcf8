"""The two forms of a log line: JSON for programs, and text for people."""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sluice.logs.events import Event, shared_fields
from sluice.logs.redact import MAX_STACK_CHARS, redact
from sluice.tracing import current_context

LIBRARY = "library"
"""The event of a line that a library writes."""

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {10: "\\n", 13: "\\r", 9: "\\t"}


class JsonFormatter(logging.Formatter):
    """One JSON object on one line; docs/guide/logs.md explains the fields."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        name, sentence, fields = _read(record)
        line = {
            "time": _rfc3339(record.created),
            "level": record.levelname,
            "part": self._part,
            "event": name,
            "message": sentence,
            "logger": record.name,
            **fields,
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = type(record.exc_info[1]).__name__
            line["stack"] = _stack(self, record)
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


class ConsoleFormatter(logging.Formatter):
    """Time in UTC, level, logger, event, sentence and fields; a stack follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        name, sentence, fields = _read(record)
        event = "" if name == LIBRARY else f" {name}:"
        texts = "".join(f" {field}={value}" for field, value in fields.items())
        line = f"{_rfc3339(record.created)} {record.levelname} {record.name}{event} "
        line += f"{sentence}{texts}".translate(_CONTROL)
        if record.exc_info and record.exc_info[1]:
            line += f"\n{_stack(self, record)}"
        return line


def _read(record: logging.LogRecord) -> tuple[str, str, dict[str, Any]]:
    """Return the event, the sentence and the fields, without secrets."""
    message = record.msg
    if not isinstance(message, Event):
        fields = _with_trace(shared_fields())
        return LIBRARY, redact(record.getMessage()), dict(_clean(fields))
    return message.name, redact(message.sentence), dict(_clean(_with_trace(message.fields)))


def _with_trace(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    context = current_context()
    return {"trace_id": context.trace_id, **fields} if context else fields


def _clean(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bool | int):
            yield name, value
        elif isinstance(value, float):
            yield name, round(value, 6)
        else:
            yield name, redact(str(value) or type(value).__name__)


def _stack(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    return redact(formatter.formatException(record.exc_info), MAX_STACK_CHARS)


def _rfc3339(seconds: float) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
