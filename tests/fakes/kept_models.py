"""The kept list of models in memory."""

from sluice.errors import RedisUnavailable


class MemoryKeptModels:
    """A text that a test may set."""

    def __init__(self, text: bytes | None = None, *, away: bool = False) -> None:
        self.text = text
        self.away = away
        """Raises RedisUnavailable at each call."""

    def load(self) -> bytes | None:
        self._check()
        return self.text

    def save(self, text: bytes) -> None:
        self._check()
        self.text = text

    def forget(self) -> None:
        self._check()
        self.text = None

    def _check(self) -> None:
        if self.away:
            raise RedisUnavailable("Redis is unavailable; try again later")
