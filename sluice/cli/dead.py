"""`sluice dead`: the predictions that took their workers down each time. It speaks to Redis itself: it is the operator's tool."""

import json
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice.blobs.store import input_key
from sluice.errors import NotFound, SluiceError
from sluice.prediction import Prediction, Submission, isoformat
from sluice.settings import Settings
from sluice.stores import Stores

app = typer.Typer(
    help="Dead letters: predictions that took their workers down each time. Reads SLUICE_REDIS_URL.",
    no_args_is_help=True,
)
T = TypeVar("T")
Id = Annotated[str, typer.Argument(metavar="ID")]


class DeadLetters:
    """The dead letters of one queue. Every method raises Unavailable when Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._stores = Stores.open(settings, settings.redis.worker_timeout_s)

    def all(self) -> list[Prediction]:
        """The newest first."""
        return self._stores.ledger.dead()

    def one(self, prediction_id: str) -> Prediction:
        """Raises NotFound."""
        for letter in self.all():
            if letter.id == prediction_id:
                return letter
        raise NotFound(f"there is no dead letter {prediction_id!r}; `sluice dead list` names them")

    def requeue(self, prediction_id: str) -> Prediction:
        """Submit the same image once more, as a new prediction: the old one's end is final. Raises NotFound."""
        letter = self.one(prediction_id)
        image = self._stores.blobs.get(input_key(letter.id, letter.digest))
        if image is None and letter.image_url is None:
            raise NotFound(f"the image of {prediction_id!r} is not kept any more")
        submission = Submission(
            **{name: getattr(letter, name) for name in Submission.model_fields if name != "batch"}
        )
        return self._stores.intake.accept(image or b"", submission)


@app.command("list")
def list_() -> None:
    """The dead letters, the newest first."""
    table = Table("id", "model", "ended at", "attempts")
    for letter in _guarded(lambda letters: letters.all()):
        table.add_row(
            letter.id, escape(letter.model), isoformat(letter.completed_at), str(letter.attempts)
        )
    Console().print(table)


@app.command()
def show(prediction_id: Id) -> None:
    """One dead letter's record, as JSON."""
    letter = _guarded(lambda letters: letters.one(prediction_id))
    typer.echo(json.dumps(letter.model_dump(mode="json"), indent=2))


@app.command()
def requeue(prediction_id: Id) -> None:
    """Submit its image once more; prints the new prediction's id."""
    typer.echo(_guarded(lambda letters: letters.requeue(prediction_id)).id)


def _guarded(call: Callable[[DeadLetters], T]) -> T:
    """What `call` returns, or its error as one line and exit status 1."""
    try:
        return call(DeadLetters(Settings.from_env()))
    except SluiceError as error:
        Console(stderr=True).print(f"error: {escape(error.message)}", style="bold red")
        raise typer.Exit(1) from None
