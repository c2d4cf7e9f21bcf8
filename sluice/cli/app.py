"""The `sluice` command: registers the subcommands."""

from typing import Annotated

import typer

from sluice import __version__
from sluice.cli import dead, keys, models, predictions, webhooks
from sluice.cli.demo import demo
from sluice.cli.doctor import doctor
from sluice.cli.load import load
from sluice.cli.setup import setup
from sluice.cli.submit import submit
from sluice.cli.up import up

app = typer.Typer(
    help="Sluice: YOLO models as an asynchronous service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sluice {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


app.command()(up)
app.command()(demo)
app.command()(submit)
app.command()(predictions.get)
app.command()(predictions.cancel)
app.command("list")(predictions.list_)
app.command()(predictions.queue)
app.command()(predictions.watch)
app.command()(doctor)
app.command()(load)
app.command()(setup)
app.add_typer(dead.app, name="dead")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(webhooks.app, name="webhooks")
