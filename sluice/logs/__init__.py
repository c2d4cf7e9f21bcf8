"""Logs: one line for each event, with a name, a sentence and fields.

    log = logs.get(__name__)
    log.warning("prediction_retried", "the prediction is tried again", delay_s=1.5)

Name and sentence are constants: docs/guide/logs.md lists all events. A field is a number, a text or
an error. `about` adds fields to all lines of a block. Entry points call `configure`.
"""

from sluice.logs.events import Event, Log, about, get
from sluice.logs.setup import configure

__all__ = ["Event", "Log", "about", "configure", "get"]
