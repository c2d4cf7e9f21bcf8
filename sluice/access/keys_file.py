"""The keys file, changed by one process at a time."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sluice.access import keys


class KeysFile:
    """A keys file to change. Every method raises ValueError or OSError; then nothing is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a link stays a link

    def create(
        self,
        name: str,
        rate_per_s: float | None,
        burst: int | None,
        max_backlog: int | None,
        *,
        operator: bool = False,
    ) -> str:
        """Create a key. The key is returned once, and stored only as a hash.

        Without limits, the key has those of the name's other keys. `operator` is the same for all
        keys of a name.
        """
        key, created = keys.new_key(), datetime.now(UTC).date().isoformat()
        limits = {"rate_per_s": rate_per_s, "burst": burst, "max_backlog": max_backlog}
        with self._changing() as entries:
            if limits == dict.fromkeys(limits):
                limits |= next(
                    (
                        other.model_dump(include=set(limits))
                        for other in entries
                        if other.name == name
                    ),
                    {},
                )
            item = {"name": name, "sha256": keys.digest(key), "created": created, **limits}
            item["operator"] = operator or any(
                other.operator for other in entries if other.name == name
            )
            entries.append(keys.entry(item, "the new key"))
        return key

    def revoke(self, name: str, older: bool | None) -> int:
        """Remove the key of `name`, or all its keys, or all but the newest; returns how many."""
        with self._changing() as entries:
            found = [entry for entry in entries if entry.name == name]
            if not found:
                raise ValueError(f"{name} has no key; `sluice keys list` names who has")
            if len(found) > 1 and older is None:
                raise ValueError(
                    f"{name} has {len(found)} keys: say --older to keep the newest, or --all"
                )
            if len(found) == 1 and older:
                raise ValueError(f"{name} has only one key; without --older it is revoked")
            revoked = found[:-1] if older else found
            entries[:] = [entry for entry in entries if entry not in revoked]
        return len(revoked)

    @contextmanager
    def _changing(self) -> Iterator[list[keys.Entry]]:
        """The entries, for one process at a time; they are written unless an error is raised."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Not the file: each change replaces it.
            fcntl.flock(directory, fcntl.LOCK_EX)
            entries = list(keys.read(self._path)) if self._path.exists() else []
            yield entries
            self._replace(keys.dump(entries))
            os.fsync(directory)
        finally:
            os.close(directory)

    def _replace(self, text: bytes) -> None:
        """Replace the file in one step: a reader sees the old file or the new one.

        Owner and mode stay, since the api may run as another user; a new file has mode 0600.
        """
        with tempfile.NamedTemporaryFile(
            prefix=".keys-", dir=self._path.parent, delete=False
        ) as file:
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
