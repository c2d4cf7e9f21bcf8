"""The catalog of models in memory."""

from collections.abc import Sequence

from api.catalog import Outage, check, imgsz
from api.model_list import ListedModel
from sluice.errors import TritonUnavailable
from sluice.prediction import Parameters


class MemoryCatalog:
    """A list of models that a test sets."""

    def __init__(self, listed: Sequence[ListedModel] = (), *, available: bool = True) -> None:
        self.listed = list(listed)
        self.available = available
        """False while Triton takes no requests."""
        self.seen = available
        """True once a list is known."""

    async def outage(self) -> Outage | None:
        self.seen = self.seen or self.available
        if self.available:
            return None
        return Outage("Triton is unavailable; try again later", 2.0, 1.0 if self.seen else None)

    async def check(self, name: str, parameters: Parameters, version: str | None = None) -> None:
        self.seen = self.seen or self.available
        if not self.seen:
            return
        check({entry.name: entry for entry in self.listed}, name, parameters, version)

    def imgsz(self, name: str) -> tuple[int, int] | None:
        return imgsz({entry.name: entry for entry in self.listed}, name) if self.seen else None

    async def models(self) -> tuple[Sequence[ListedModel], bool]:
        self.seen = self.seen or self.available
        if not self.seen:
            raise TritonUnavailable("Triton is unavailable; try again later")
        return sorted(self.listed, key=lambda entry: entry.name), self.available
