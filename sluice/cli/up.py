"""`sluice up`: the embedded stack, until Ctrl-C."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli import extras
from sluice.cli.console import Reporter, exit_on_error
from sluice.cli.signals import handled, interrupt
from sluice.errors import LocalStackError
from sluice.local.config import ALL_PARTS, StackConfig, default_models
from sluice.local.stack import Stack
from sluice.local.supervision.state import default_directory


def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="The api's port. 0: any free port, for every part. Default: 8080, or a free port.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Predictions at a time in each worker.")
    ] = 4,
    state: Annotated[
        Path | None,
        typer.Option(help="The folder for data and logs. Default: $XDG_STATE_HOME/sluice."),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="The model repository. Default: ./model_repository.")
    ] = None,
    ui: Annotated[
        bool,
        typer.Option("--ui", help="Start the page too, on port 7860 or a free port."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON on stdout when ready.")
    ] = False,
) -> None:
    """Start Redis, Triton, the api and workers on this machine, and run until Ctrl-C.

    Example: sluice up --workers 2 --port 8000
    """
    extras.need("local")
    reporter = Reporter()
    config = StackConfig(
        state=state or default_directory(),
        models=models or default_models(),
        port=port,
        workers=workers,
        concurrency=concurrency,
        parts=ALL_PARTS | {"ui"} if ui else ALL_PARTS,
    )
    with exit_on_error(LocalStackError), suppress(KeyboardInterrupt):
        _run(Stack(config, reporter.tell), reporter, as_json=as_json)
    reporter.say("stopped; nothing is left running")


def _run(stack: Stack, reporter: Reporter, *, as_json: bool) -> None:
    with reporter:
        with handled(interrupt):
            stack.prepare()
        with handled(lambda number, frame: stack.request_stop()), stack:
            if not stack.stop_requested:
                reporter.ready(stack.addresses, stack.state.directory)
                if as_json:
                    typer.echo(json.dumps(stack.description()))
            stack.run_until_stopped()
            reporter.say("stopping …")
