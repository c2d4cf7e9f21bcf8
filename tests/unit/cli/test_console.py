"""Console output that the commands share."""

import io

import pytest
import typer
from rich.console import Console

from sluice.cli.console import Reporter, exit_on_error, fail
from sluice.errors import LocalStackError
from sluice.local.supervision.supervisor import Kind, SupervisorEvent

EVENTS = [
    SupervisorEvent(Kind.STARTED, "redis", "starting redis", 1),
    SupervisorEvent(Kind.READY, "redis", "redis is ready after 0.1 s", 1),
    SupervisorEvent(
        Kind.DIED, "redis", "redis was killed by signal 9; the end of [bold]its log[/bold]"
    ),
    SupervisorEvent(Kind.NOTE, "stack", "port 6379 is taken; redis listens on 4242"),
]


def printed(terminal: bool, *events: SupervisorEvent) -> str:
    """The reporter's output for these events."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, soft_wrap=True, highlight=False)
    with Reporter(console) as reporter:
        for event in events:
            reporter.tell(event)
    return out.getvalue()


def test_a_pipe_gets_plain_lines():
    assert printed(False, *EVENTS).splitlines() == [
        "starting redis",
        "redis is ready after 0.1 s",
        "redis was killed by signal 9; the end of [bold]its log[/bold]",
        "port 6379 is taken; redis listens on 4242",
    ]


@pytest.mark.parametrize("text", [event.text for event in EVENTS])
def test_a_terminal_gets_the_same_lines_with_colour(text):
    out = printed(True, *EVENTS)
    assert text in out
    assert "\x1b[" in out


def test_fail_prints_one_line_without_markup_and_exits_with_1(capsys):
    with pytest.raises(typer.Exit) as exited:
        fail(f"install [something] {'long ' * 40}")
    assert exited.value.exit_code == 1
    assert capsys.readouterr().err == f"error: install [something] {'long ' * 40}\n"


def test_an_expected_error_becomes_an_error_line(capsys):
    with pytest.raises(typer.Exit), exit_on_error(LocalStackError):
        raise LocalStackError("install [something]")
    assert capsys.readouterr().err == "error: install [something]\n"


def test_an_unexpected_error_is_raised():
    with pytest.raises(KeyError), exit_on_error(LocalStackError):
        raise KeyError("a bug")
