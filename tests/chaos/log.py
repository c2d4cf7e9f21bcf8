"""The clients' log: one JSON object a line, with seconds since the log began.

A request is logged before it is sent.
"""

import json
import time
from pathlib import Path
from typing import Any


class Log:
    """Append-only. One event loop writes; a line is whole or, if the process dies, missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        self._began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._began

    def write(self, what: str, **fields: Any) -> float:
        """Append a line; returns its time."""
        at = round(self.now(), 4)
        self._file.write(
            json.dumps({"what": what, "t": at, **fields}, separators=(",", ":")) + "\n"
        )
        self._file.flush()
        return at

    def close(self) -> None:
        self._file.close()
