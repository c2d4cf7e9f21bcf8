"""`sluice setup`: the installation of the environments beside Sluice's own."""

from typing import Annotated

import typer

from sluice.cli.console import Reporter, exit_on_error
from sluice.cli.service import AsJson, print_json
from sluice.cli.signals import handled, interrupt
from sluice.errors import LocalStackError
from sluice.local.servers import triton_env, ui_env


def setup(
    ui: Annotated[bool, typer.Option("--ui", help="Install the page's environment too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install Triton's environment. `sluice up` then needs no network.

    Example: sluice setup
    """
    reporter = Reporter()
    with exit_on_error(LocalStackError), reporter, handled(interrupt):
        environment = triton_env.ensure(progress=reporter.say)
        if ui:
            ui_env.ensure(progress=reporter.say)
    if as_json:
        print_json({"triton": str(environment.directory)})
    reporter.say(f"Triton's environment is ready: {environment.directory}")
