"""The logging of a process. Only entry points call `configure`."""

import logging
import sys
import threading
import warnings
from types import TracebackType

from sluice.logs.events import get
from sluice.logs.formats import ConsoleFormatter, JsonFormatter
from sluice.settings import LogSettings

_OWN = ("api", "worker", "ui", "sluice")
#: Modules of libraries that write a line at INFO for each request, or for each message.
_QUIET = (
    "httpx",
    "httpcore",
    "urllib3",
    "opentelemetry",
    "celery.worker.strategy",
    "celery.app.trace",
)

log = get(__name__)


def configure(settings: LogSettings, part: str) -> None:
    """Write each record to standard error, of libraries and of warnings too.

    `part` names the process: `api`, `predictions`, `keeper`, `webhooks` or `ui`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(part) if settings.format == "json" else ConsoleFormatter())
    handler.addFilter(_is_new)
    level = logging.getLevelNamesMapping()[settings.level]
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    for name in _OWN:
        logging.getLogger(name).setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    # Pillow warns about odd headers; `sluice/images/` judges them itself.
    warnings.filterwarnings("ignore", module="PIL")
    sys.excepthook = _log_end
    threading.excepthook = _log_end_of_thread


def mark_logged(error: BaseException) -> None:
    """Write no second line for `error`, which a server logs that gets it next."""
    error.__dict__["logged"] = True


def _is_new(record: logging.LogRecord) -> bool:
    """Return False for a library's line about an error that has a line already."""
    error = record.exc_info[1] if record.exc_info else None
    return not (error and record.name.startswith("uvicorn") and error.__dict__.get("logged"))


def _log_end(kind: type[BaseException], error: BaseException, stack: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, stack)
        return
    log.failure("process_failed", "the process ends by an unexpected error", error)


def _log_end_of_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        log.failure(
            "thread_failed",
            "a thread ended by an unexpected error",
            failure.exc_value,
            thread=failure.thread.name if failure.thread else None,
        )
