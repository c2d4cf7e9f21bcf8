"""What `sluice up` and `sluice setup` do; `sluice/cli/app.py` registers these functions as commands."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sluice.errors import LocalStackError
from sluice.local.config import StackConfig, default_models
from sluice.local.servers import triton_env
from sluice.local.stack import Stack
from sluice.local.supervision.state import default_directory
from sluice.local.supervision.supervisor import Kind, SupervisorEvent

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STYLES = {Kind.READY: "green", Kind.DIED: "bold red", Kind.NOTE: "yellow", Kind.STARTED: "dim"}


def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The api's; 0: any, for all parts. Default: 8080 or another."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Predictions side by side in each worker.")
    ] = 4,
    state: Annotated[
        Path | None, typer.Option(help="Data and logs. Default: $XDG_STATE_HOME/sluice.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="The model repository. Default: ./model_repository.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON on stdout when ready.")
    ] = False,
) -> None:
    """Start Redis, Triton, the api and workers on this machine, and keep them running until Ctrl-C."""
    reporter = Reporter()
    config = StackConfig(
        state=state or default_directory(),
        models=models or default_models(),
        port=port,
        workers=workers,
        concurrency=concurrency,
    )
    stack = Stack(config, reporter.tell)
    try:
        with reporter:
            with handled(_interrupt):
                stack.prepare()
            with handled(lambda number, frame: stack.request_stop()), stack:
                if not stack.stop_requested:
                    reporter.ready(stack)
                    if as_json:
                        typer.echo(json.dumps(stack.description()))
                stack.run_until_stopped()
                reporter.say("stopping …")
    except LocalStackError as error:
        reporter.fail(error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        pass
    reporter.say("stopped; nothing is left running")


def setup() -> None:
    """Make the environment that holds Triton, so that `sluice up` needs no network."""
    reporter = Reporter()
    try:
        with reporter, handled(_interrupt):
            environment = triton_env.ensure(progress=reporter.say)
    except LocalStackError as error:
        reporter.fail(error)
        raise typer.Exit(1) from None
    reporter.say(f"Triton's environment is ready: {environment.directory}")


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Have the signals that end a program call `handler` meanwhile."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Reporter:
    """Tells a person on stderr what happens: a spinner and colours on a terminal, plain lines elsewhere."""

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
        """Called from the supervisor's threads."""
        if event.kind is Kind.STARTED:
            self._waiting = [*self._waiting, event.name]
        elif event.kind in (Kind.READY, Kind.DIED):
            self._waiting = [name for name in self._waiting if name != event.name]
        if self._status:
            self._status.update(
                f"waiting for {', '.join(self._waiting)}"
                if self._waiting
                else "running; Ctrl-C stops"
            )
        self._print(event.text, STYLES[event.kind])

    def ready(self, stack: Stack) -> None:
        addresses = stack.addresses
        self._print(f"ready: {addresses.api}  (documentation: {addresses.api}/docs)", "bold green")
        for name, where in (
            ("Redis", addresses.redis),
            ("Triton", addresses.triton_http),
            ("Triton, gRPC", addresses.triton_grpc),
        ):
            self._print(f"  {name:<13} {where}")
        self._print(f"  {'metrics':<13} {addresses.metrics}")
        self._print(f"  {'state, logs':<13} {stack.state.directory}")

    def say(self, text: str) -> None:
        self._print(text, "dim")

    def fail(self, error: LocalStackError) -> None:
        self._print(f"error: {error.message}", "bold red")

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(escape(text), style=style or None)
