"""The file that shows that a worker accepts work."""

import os
import threading
from pathlib import Path

from sluice import logs

log = logs.get(__name__)

_FORGET_AFTER_S = 60.0  # more than the longest pause between two tries while predictions wait


class Readiness:
    """The file is there while the worker has its broker, Triton and the blob store. Thread-safe.

    With no prediction to try, a failure is forgotten after `forget_after_s`.
    `path` None writes no file.
    """

    def __init__(self, path: Path | None, *, forget_after_s: float = _FORGET_AFTER_S) -> None:
        self._path = path
        self._forget_after_s = forget_after_s
        self._lock = threading.Lock()
        self._has_broker = False
        self._failing = False
        self._timer: threading.Timer | None = None

    def has_broker(self) -> None:
        """Celery takes messages."""
        with self._lock:
            self._has_broker = True
            self._show()

    def reaches_parts(self, answer: bool) -> None:
        """Tell whether Triton and the blob store answer, as the breaker sees it."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            self._failing = not answer
            if self._failing:
                self._timer = threading.Timer(self._forget_after_s, self.reaches_parts, args=[True])
                self._timer.daemon = True
                self._timer.start()
            self._show()

    @property
    def takes_messages(self) -> bool:
        """True from the time at which Celery has its broker."""
        return self._has_broker

    @property
    def lacks_parts(self) -> bool:
        """True while Triton or the blob store does not answer, as the breaker sees it."""
        return self._failing

    def end(self) -> None:
        """Remove the file for good: the process ends."""
        with self._lock:
            self._has_broker = False
            self._show()

    def _show(self) -> None:
        if self._path is None:
            return
        try:
            if self._has_broker and not self._failing:
                self._path.write_text(f"{os.getpid()}\n")
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            log.error(
                "ready_file_stuck",
                "the file that shows readiness can't be changed",
                error=error.strerror,
            )
