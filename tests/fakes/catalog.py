"""The catalog of models in memory."""

from collections.abc import Sequence

from api.catalog import ListedModel, check
from sluice.errors import TritonUnavailable
from sluice.prediction import Parameters


class MemoryCatalog:
    """A list of models that a test sets."""

    def __init__(self, listed: Sequence[ListedModel] = (), *, available: bool = True) -> None:
        self.listed = list(listed)
        self.available = available
        """False while Triton takes no requests."""
        self._seen = available

    async def ready(self) -> None:
        if not self.available:
            raise TritonUnavailable("Triton is unavailable; try again later")

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        self._seen = self._seen or self.available
        if not self._seen:
            return
        check({entry.name: entry for entry in self.listed}, name, parameters, version)

    async def models(self) -> tuple[Sequence[ListedModel], bool]:
        self._seen = self._seen or self.available
        if not self._seen:
            raise TritonUnavailable("Triton is unavailable; try again later")
        return sorted(self.listed, key=lambda entry: entry.name), self.available
