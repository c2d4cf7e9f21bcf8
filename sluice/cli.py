"""The `sluice` command."""

import typer

from sluice import dead, keys_command, webhooks_command
from sluice.demo import demo
from sluice.load import load
from sluice.local.command import setup, up

app = typer.Typer(help="YOLO models behind a queue.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(up)
app.command()(demo)
app.command()(load)
app.command()(setup)
app.add_typer(dead.app, name="dead")
app.add_typer(keys_command.app, name="keys")
app.add_typer(webhooks_command.app, name="webhooks")
