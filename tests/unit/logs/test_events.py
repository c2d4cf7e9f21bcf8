"""Every log call names an event, and docs/guide/logs.md lists all of them."""

import re
from collections import defaultdict

from tests.support import log_events
from tests.support.paths import ROOT

# The watchdog flushes all handlers; entry points of Celery have a signal of that name.
STANDARD = {"sluice/logs", "worker/watchdog.py", "worker/predictions_process.py"}


def test_the_page_lists_the_events() -> None:
    assert log_events.PAGE.read_text() == log_events.page(), (
        "run `python -m tests.support.log_events`"
    )


def test_an_event_has_one_level_and_one_sentence_in_a_module() -> None:
    levels = defaultdict(set)
    for call in log_events.calls():
        assert re.fullmatch("[a-z]+(_[a-z]+)+", call.event), call.place
        levels[call.event, call.place.partition(":")[0]].add(call.sentence)
    assert [event for event, sentences in levels.items() if len(sentences) > 1] == []


def test_modules_log_by_sluice_logs() -> None:
    for package in log_events.PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            if not any(name.startswith(place) for place in STANDARD):
                assert not re.search(r"^import logging", path.read_text(), re.M), name
