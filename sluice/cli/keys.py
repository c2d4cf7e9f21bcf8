"""`sluice keys`: make, list and revoke keys, in the file that the api reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice.access import keys
from sluice.access.keys_file import KeysFile
from sluice.settings import Settings

app = typer.Typer(
    help="Keys of the api, in SLUICE_API_KEYS_FILE. To replace one: create a second, have its clients use it, revoke --older.",
    no_args_is_help=True,
)
T = TypeVar("T")
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Who calls: it owns predictions, rate and backlog. a-z, 0-9 and -."
    ),
]
File = Annotated[Path | None, typer.Option(help="The keys file. Default: SLUICE_API_KEYS_FILE.")]


@app.command()
def create(
    name: Name,
    file: File = None,
    rate: Annotated[
        float | None, typer.Option(help="Submissions a second, in the long run; with --burst.")
    ] = None,
    burst: Annotated[int | None, typer.Option(help="Submissions at once; with --rate.")] = None,
    max_backlog: Annotated[
        int | None, typer.Option(help="Predictions of this name that may be queued or running.")
    ] = None,
) -> None:
    """Make a key and print it, this once. A running api takes it within 2 s."""
    typer.echo(_guarded(lambda: KeysFile(_path(file)).create(name, rate, burst, max_backlog)))


@app.command("list")
def list_(file: File = None) -> None:
    """Who has keys, the oldest first."""
    table = Table("name", "created", "rate/s", "burst", "max backlog")
    for entry in _guarded(lambda: keys.read(_path(file))):
        limits = (entry.rate_per_s, entry.burst, entry.max_backlog)
        table.add_row(
            entry.name,
            entry.created or "",
            *("" if limit is None else str(limit) for limit in limits),
        )
    Console().print(table)


@app.command()
def revoke(
    name: Name,
    file: File = None,
    older: Annotated[
        bool | None,
        typer.Option("--older/--all", help="Where it has several: all but the newest; all."),
    ] = None,
) -> None:
    """Take a name's keys away. A running api refuses them within 2 s; what was submitted with them goes on."""
    typer.echo(f"keys revoked: {_guarded(lambda: KeysFile(_path(file)).revoke(name, older))}")


def _path(given: Path | None) -> Path:
    path = given or Settings.from_env().api.keys_file
    if path is None:
        raise ValueError("say which file holds the keys: --file FILE, or SLUICE_API_KEYS_FILE=FILE")
    return path


def _guarded(call: Callable[[], T]) -> T:
    """What `call` returns, or its error as one line and exit status 1."""
    try:
        return call()
    except OSError as error:
        text = f"{error.filename or 'the keys file'}: {error.strerror}"
    except ValueError as error:
        text = str(error)
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"error: {escape(text)}", style="bold red"
    )
    raise typer.Exit(1)
