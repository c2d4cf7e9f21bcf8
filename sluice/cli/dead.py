"""`sluice dead`: the dead letters, read from Redis without the api."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice.cli import extras
from sluice.cli.console import exit_on_error
from sluice.cli.service import AlwaysJson, AsJson, print_json
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from sluice.cli.operator import DeadLetters

app = typer.Typer(
    help="Dead letters: predictions whose worker died in each attempt. Reads SLUICE_REDIS_URL.",
    no_args_is_help=True,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a dead letter.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the dead letters, the newest first.

    Example: sluice dead list --json
    """
    with exit_on_error(SluiceError, ValueError):
        letters = _dead_letters().all()
    if as_json:
        print_json([letter.model_dump(mode="json") for letter in letters])
        return
    from sluice.prediction import isoformat  # noqa: PLC0415  as in `_dead_letters`

    table = Table("id", "model", "ended at", "attempts")
    for letter in letters:
        ended_at = isoformat(letter.completed_at)
        table.add_row(letter.id, escape(letter.model), ended_at, str(letter.attempts))
    Console().print(table)


@app.command()
def show(prediction_id: Id, as_json: AlwaysJson = True) -> None:
    """Print the record of one dead letter, as JSON.

    Example: sluice dead show 7g5xsn4ocjhbvgtyo3uzqkwa4e
    """
    with exit_on_error(SluiceError, ValueError):
        letter = _dead_letters().get(prediction_id)
    print_json(letter.model_dump(mode="json"))


@app.command()
def requeue(prediction_id: Id, as_json: AsJson = False) -> None:
    """Submit the image of a dead letter again, and print the new prediction's id.

    Example: sluice dead requeue 7g5xsn4ocjhbvgtyo3uzqkwa4e
    """
    with exit_on_error(SluiceError, ValueError):
        prediction = _dead_letters().requeue(prediction_id)
    if as_json:
        print_json({"id": prediction.id, "dead_letter": prediction_id})
    else:
        typer.echo(prediction.id)


def _dead_letters() -> "DeadLetters":
    """The dead letters of the environment's queue. Raises ValueError for a wrong setting."""
    extras.need("operator")
    # Imported here: at the top, Celery would slow the start of every command.
    from sluice.cli.operator import DeadLetters  # noqa: PLC0415
    from sluice.settings import Settings  # noqa: PLC0415

    return DeadLetters(Settings.from_env())
