"""`sluice keys`: make, list and revoke keys, in the file that the api reads."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice import keys
from sluice.settings import Api

app = typer.Typer(
    help="Keys of the api, in SLUICE_API_KEYS_FILE. To replace one: create a second, have its clients use it, revoke --older.",
    no_args_is_help=True,
)
T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Who calls: it owns predictions, rate and backlog. a-z, 0-9 and -.")]
File = Annotated[Path | None, typer.Option(help="The keys file. Default: SLUICE_API_KEYS_FILE.")]


class KeysFile:
    """A keys file that is to be changed. Every method raises ValueError or OSError, and the file is then as it was."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a link stays one

    def create(self, name: str, rate_per_s: float | None, burst: int | None, max_backlog: int | None) -> str:
        """A new key of `name`, which nothing else will ever tell. Without limits it has those of the name's other keys."""
        key, created = keys.new_key(), datetime.now(UTC).date().isoformat()
        limits = {"rate_per_s": rate_per_s, "burst": burst, "max_backlog": max_backlog}
        with self._changing() as entries:
            if limits == dict.fromkeys(limits):
                limits |= next((other.model_dump(include=set(limits)) for other in entries if other.name == name), {})
            item = {"name": name, "sha256": keys.digest(key), "created": created, **limits}
            entries.append(keys.entry(item, "the new key"))
        return key

    def revoke(self, name: str, older: bool | None) -> int:
        """Remove the only key of `name`, or all, or all but the newest; how many."""
        with self._changing() as entries:
            found = [entry for entry in entries if entry.name == name]
            if not found:
                raise ValueError(f"{name} has no key; `sluice keys list` names who has")
            if len(found) > 1 and older is None:
                raise ValueError(f"{name} has {len(found)} keys: say --older to keep the newest, or --all")
            if len(found) == 1 and older:
                raise ValueError(f"{name} has only one key; without --older it is revoked")
            revoked = found[:-1] if older else found
            entries[:] = [entry for entry in entries if entry not in revoked]
        return len(revoked)

    @contextmanager
    def _changing(self) -> Iterator[list[keys.Entry]]:
        """The entries, to be changed by one process at a time; they are written where nothing is raised."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # not the file, which is another one after each change
            entries = list(keys.read(self._path)) if self._path.exists() else []
            yield entries
            self._replace(keys.dump(entries))
            os.fsync(directory)
        finally:
            os.close(directory)

    def _replace(self, text: bytes) -> None:
        """A reader sees the old file or the new one. Owner and mode stay: the api may run as another user; a new file has 0600."""
        with tempfile.NamedTemporaryFile(prefix=".keys-", dir=self._path.parent, delete=False) as file:
            new = Path(file.name)
            try:
                if self._path.exists():
                    was = self._path.stat()
                    os.chown(new, was.st_uid, was.st_gid)
                    new.chmod(stat.S_IMODE(was.st_mode))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                new.replace(self._path)
            except BaseException:
                new.unlink()
                raise


@app.command()
def create(
    name: Name,
    file: File = None,
    rate: Annotated[float | None, typer.Option(help="Submissions a second, in the long run; with --burst.")] = None,
    burst: Annotated[int | None, typer.Option(help="Submissions at once; with --rate.")] = None,
    max_backlog: Annotated[int | None, typer.Option(help="Predictions of this name that may be queued or running.")] = None,
) -> None:
    """Make a key and print it, this once. A running api takes it within 2 s."""
    typer.echo(_guarded(lambda: KeysFile(_path(file)).create(name, rate, burst, max_backlog)))


@app.command("list")
def list_(file: File = None) -> None:
    """Who has keys, the oldest first."""
    table = Table("name", "created", "rate/s", "burst", "max backlog")
    for entry in _guarded(lambda: keys.read(_path(file))):
        limits = (entry.rate_per_s, entry.burst, entry.max_backlog)
        table.add_row(entry.name, entry.created or "", *("" if limit is None else str(limit) for limit in limits))
    Console().print(table)


@app.command()
def revoke(
    name: Name,
    file: File = None,
    older: Annotated[bool | None, typer.Option("--older/--all", help="Where it has several: all but the newest; all.")] = None,
) -> None:
    """Take a name's keys away. A running api refuses them within 2 s; what was submitted with them goes on."""
    typer.echo(f"keys revoked: {_guarded(lambda: KeysFile(_path(file)).revoke(name, older))}")


def _path(given: Path | None) -> Path:
    path = given or Api().keys_file
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
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {escape(text)}", style="bold red")
    raise typer.Exit(1)
