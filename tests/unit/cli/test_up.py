import io

import pytest
from rich.console import Console

from sluice.cli.up import Reporter
from sluice.errors import LocalStackError
from sluice.local.supervision.supervisor import Kind, SupervisorEvent


def printed(terminal: bool, *events: SupervisorEvent) -> str:
    out = io.StringIO()
    with Reporter(
        Console(file=out, force_terminal=terminal, width=80, soft_wrap=True, highlight=False)
    ) as reporter:
        for event in events:
            reporter.tell(event)
        reporter.fail(LocalStackError("install [something]"))
    return out.getvalue()


EVENTS = [
    SupervisorEvent(Kind.STARTED, "redis", "starting redis", 1),
    SupervisorEvent(Kind.READY, "redis", "redis is ready after 0.1 s", 1),
    SupervisorEvent(
        Kind.DIED, "redis", "redis was killed by signal 9; the end of [bold]its log[/bold]"
    ),
    SupervisorEvent(Kind.NOTE, "stack", "port 6379 is taken; redis listens on 4242"),
]


def test_plain_lines_where_nobody_watches():
    assert printed(False, *EVENTS).splitlines() == [
        "starting redis",
        "redis is ready after 0.1 s",
        "redis was killed by signal 9; the end of [bold]its log[/bold]",
        "port 6379 is taken; redis listens on 4242",
        "error: install [something]",
    ]


@pytest.mark.parametrize("text", [event.text for event in EVENTS])
def test_the_same_and_colour_on_a_terminal(text):
    out = printed(True, *EVENTS)
    assert text in out
    assert "\x1b[" in out
