"""Waiting until nothing of a model is queued or running."""

import time
from collections.abc import Callable

from sluice.errors import RedisUnavailable, RepositoryError
from sluice.ledger.usage import Usage

_POLL_S = 0.5


class Drain:
    """Waits for the predictions of a model that the api refuses from now on."""

    def __init__(
        self,
        usage: Usage,
        *,
        settle_s: float,
        timeout_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settle_s`: until every api knows that the model is retired.

        `timeout_s` bounds the wait after that.
        """
        self._usage = usage
        self._settle_s = settle_s
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._clock = clock

    def wait(self, model: str) -> None:
        """Return once no prediction of `model` is queued or running.

        Raises RepositoryError where some are left after `timeout_s`, or Redis does not say.
        """
        self._sleep(self._settle_s)
        end = self._clock() + self._timeout_s
        while left := self._count(model):
            if self._clock() > end:
                raise RepositoryError(
                    f"{left} predictions of {model!r} are still queued or running, so the model"
                    " stays; try again later, or give --now and let them fail"
                )
            self._sleep(_POLL_S)

    def _count(self, model: str) -> int:
        try:
            return self._usage.count(model)
        except RedisUnavailable:
            raise RepositoryError(
                f"Redis does not say whether predictions of {model!r} are queued, so the model"
                " stays; set SLUICE_REDIS_URL, or give --now"
            ) from None
