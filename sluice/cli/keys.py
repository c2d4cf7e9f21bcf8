"""`sluice keys`: API keys, in the file that the api reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from sluice.cli import extras
from sluice.cli.console import fail
from sluice.cli.service import AsJson, print_json

if TYPE_CHECKING:
    from sluice.access.keys_file import KeysFile

app = typer.Typer(
    help="API keys, in the file SLUICE_API_KEYS_FILE. To replace a key: create a second one, "
    "give it to the clients, and revoke the first with --older.",
    no_args_is_help=True,
)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The caller's name: a-z, 0-9 and -. Predictions and limits belong to the name.",
    ),
]
File = Annotated[Path | None, typer.Option(help="The keys file. Default: SLUICE_API_KEYS_FILE.")]


@app.command()
def create(
    name: Name,
    file: File = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Submissions per second, in the long run. Needs --burst."),
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="The most submissions at one moment. Needs --rate.")
    ] = None,
    max_backlog: Annotated[
        int | None,
        typer.Option(help="The most predictions of this name that may be queued or running."),
    ] = None,
    operator: Annotated[
        bool,
        typer.Option(
            "--operator",
            help="An operator's key: it reaches the predictions, dead letters and deliveries of"
            " all names.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it, this once. A running api accepts the key within 2 s.

    Example: sluice keys create camera-3 --rate 10 --burst 50
    """
    with _exit_on_file_error():
        api_key = _keys_file(file).create(name, rate, burst, max_backlog, operator=operator)
    if as_json:
        print_json({"name": name, "key": api_key})
    else:
        typer.echo(api_key)


@app.command("list")
def list_(file: File = None, as_json: AsJson = False) -> None:
    """List the names that have keys, the oldest key first.

    Example: sluice keys list
    """
    extras.need("operator")
    from sluice.access import keys  # noqa: PLC0415  as in `_keys_file`

    with _exit_on_file_error():
        entries = keys.read(_path(file))
    if as_json:
        fields = ("name", "created", "rate_per_s", "burst", "max_backlog", "operator")
        print_json([{field: getattr(entry, field) for field in fields} for entry in entries])
        return
    table = Table("name", "created", "rate/s", "burst", "max backlog", "operator")
    for entry in entries:
        limits = (entry.rate_per_s, entry.burst, entry.max_backlog)
        cells = ("" if limit is None else str(limit) for limit in limits)
        operator = "yes" if entry.operator else ""
        table.add_row(entry.name, entry.created or "", *cells, operator)
    Console().print(table)


@app.command()
def revoke(
    name: Name,
    file: File = None,
    older: Annotated[
        bool | None,
        typer.Option(
            "--older/--all",
            help="For a name with several keys: revoke all but the newest, or all.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a name's keys. A running api refuses them within 2 s.

    Predictions that were submitted with a revoked key go on.

    Example: sluice keys revoke camera-3 --older
    """
    with _exit_on_file_error():
        count = _keys_file(file).revoke(name, older)
    if as_json:
        print_json({"name": name, "revoked": count})
    else:
        typer.echo(f"keys revoked: {count}")


def _keys_file(option: Path | None) -> "KeysFile":
    extras.need("operator")
    # Imported here: at the top, the settings would slow the start of every command.
    from sluice.access.keys_file import KeysFile  # noqa: PLC0415

    return KeysFile(_path(option))


def _path(option: Path | None) -> Path:
    from sluice.settings import Settings  # noqa: PLC0415  as in `_keys_file`

    path = option or Settings.from_env().api.keys_file
    if path is None:
        raise ValueError("no keys file: give --file FILE, or set SLUICE_API_KEYS_FILE=FILE")
    return path


@contextmanager
def _exit_on_file_error() -> Iterator[None]:
    """Turn an error of the keys file into an error line and exit status 1."""
    try:
        yield
    except OSError as error:
        fail(f"{error.filename or 'the keys file'}: {error.strerror}")
    except ValueError as error:
        fail(str(error))
