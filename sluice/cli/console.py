"""Console output that the commands share: error lines, progress bars, and a stack's events."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sluice.errors import SluiceError, Unavailable
from sluice.local.config import Addresses
from sluice.local.supervision.supervisor import Kind, SupervisorEvent

_UNAVAILABLE = (401, 403, 429, 502, 503, 504)
STYLES = {Kind.READY: "green", Kind.DIED: "bold red", Kind.NOTE: "yellow", Kind.STARTED: "dim"}


class Exit(IntEnum):
    """The exit status of every command. docs/reference/cli.md explains each."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


def fail(message: str, status: Exit = Exit.FAILED) -> NoReturn:
    """Print one error line on stderr, and exit."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"error: {escape(message)}", style="bold red")
    raise typer.Exit(status)


@contextmanager
def exit_on_error(*expected: type[Exception]) -> Iterator[None]:
    """Turn an expected error inside the block into an error line and an exit status."""
    try:
        yield
    except expected as error:
        fail(error.message if isinstance(error, SluiceError) else str(error), _status(error))


def _status(error: Exception) -> Exit:
    # A ServiceError has a status; its module is slow to import.
    status = getattr(error, "status", 0)
    unavailable = isinstance(error, Unavailable) or status is None or status in _UNAVAILABLE
    return Exit.UNAVAILABLE if unavailable else Exit.FAILED


def progress(console: Console) -> Progress:
    """A progress display: one line for each task, with its count and its time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


class Reporter:
    """Shows a stack's events on stderr.

    A terminal gets colours and a spinner. A file or a pipe gets plain lines.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("starting …") if self._console.is_terminal else None
        self._waiting: list[str] = []

    def __enter__(self) -> "Reporter":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def tell(self, event: SupervisorEvent) -> None:
        """Show an event. Called from the supervisor's threads."""
        if event.kind is Kind.STARTED:
            self._waiting = [*self._waiting, event.name]
        elif event.kind in (Kind.READY, Kind.DIED):
            self._waiting = [name for name in self._waiting if name != event.name]
        if self._status:
            names = ", ".join(self._waiting)
            self._status.update(f"waiting for {names}" if names else "running; Ctrl-C stops")
        self._print(event.text, STYLES[event.kind])

    def ready(self, addresses: Addresses, state: Path) -> None:
        """Show the addresses of a stack that is ready, and its state directory."""
        self._print(f"ready: {addresses.api}  (documentation: {addresses.api}/docs)", "bold green")
        if addresses.ui:
            self._print(f"the page: {addresses.ui}", "bold green")
        for name, place in (
            ("Redis", addresses.redis),
            ("Triton", addresses.triton_http),
            ("Triton, gRPC", addresses.triton_grpc),
            ("metrics", addresses.metrics),
            ("state, logs", state),
        ):
            self._print(f"  {name:<13} {place}")

    def say(self, text: str) -> None:
        """Show a line about the command's own progress."""
        self._print(text, "dim")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(escape(text), style=style or None)
