"""The numbers of versions, and which of them is being added: one file of the model repository.

A number is never used twice, even after a rollback or a removal. Requests name the version that
they mean, and a worker may still hold the description of an old one.
"""

import json
from typing import Any

from sluice.errors import RepositoryError, UnsupportedModel
from sluice.repository import config
from sluice.repository.storage import CONFIG, Storage

_FILE = ".sluice.json"


class Journal:
    """The journal of one repository. Use it under the repository's lock.

    All methods raise RepositoryError where the repository can't be used.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def next(self, name: str) -> int:
        """The number of the next version of `name`."""
        return max([self._entry(name).get("last", 0), *self._storage.versions(name)]) + 1

    def begin(self, name: str, version: int) -> None:
        """Note that a version is being added. Call before its first file is written."""
        self._write(name, {"last": version, "adding": version})

    def end(self, name: str) -> None:
        """Note that the version is live, or is gone again."""
        self._write(name, {"last": self._entry(name).get("last", 0)})

    def retire(self, name: str) -> None:
        """Note the highest version of a model whose folder is about to be deleted."""
        self._write(name, {"last": self.next(name) - 1})

    def clean(self) -> None:
        """Remove the versions that commands began to add and were killed before they were live."""
        for name, entry in self._all().items():
            version = entry.get("adding")
            if version is None:
                continue
            if _live(self._storage, name) != version:
                self._storage.delete_version(name, version)
                if not self._storage.versions(name) and not _has_config(self._storage, name):
                    self._storage.delete_model(name)
            self.end(name)

    def _entry(self, name: str) -> dict[str, int]:
        return self._all().get(name, {})

    def _write(self, name: str, entry: dict[str, int]) -> None:
        text = json.dumps(self._all() | {name: entry}, indent=1, sort_keys=True)
        self._storage.write(_FILE, text.encode())

    def _all(self) -> dict[str, dict[str, int]]:
        data = self._storage.read(_FILE)
        if data is None:
            return {}
        try:
            entries: Any = json.loads(data)
            return {
                str(name): {str(key): int(value) for key, value in entry.items()}
                for name, entry in entries.items()
            }
        except (ValueError, AttributeError, TypeError):
            raise RepositoryError(
                f"{_FILE} in {self._storage.location} can't be read; delete it if nobody needs the"
                " numbers of removed models"
            ) from None


def _has_config(storage: Storage, name: str) -> bool:
    return storage.read(f"{name}/{CONFIG}") is not None


def _live(storage: Storage, name: str) -> int | None:
    data = storage.read(f"{name}/{CONFIG}")
    try:
        return config.parse(name, data.decode(errors="replace")).version if data else None
    except UnsupportedModel:
        return None
