"""Taking in what comes most often with no change of threads, which costs more than all that is done. See `Intake` for the promise.

Where the images are in the ledger's Redis, both commands go in one message. Redis runs them in order: the image, then the record.
"""

from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError

from sluice.blobs.store import input_key, stored_key
from sluice.errors import BlobsUnavailable, QueueFull, Unavailable
from sluice.ids import new_id
from sluice.intake.doorbell import MAX_WAITING_RINGS
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Prediction, Submission
from sluice.redisio.connection import translated
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.scripts import ScriptCall, run_async


class AsyncIntake:
    """Of one event loop. `blobs` is None where the images are in the ledger's Redis. `ring` and `drop` must not block: they are
    told of a prediction that nobody was woken for, and of the key of an image that belongs to nothing.
    """

    def __init__(
        self,
        ledger: RedisLedger,
        pipe: MultiplexedConnection,
        blobs: MultiplexedConnection | None,
        *,
        blob_ttl_s: int,
        ring: Callable[[str], object],
        drop: Callable[[str], object],
    ) -> None:
        self._ledger = ledger
        self._pipe = pipe
        self._blobs = blobs
        self._blob_ttl_s = blob_ttl_s
        self._ring = ring
        self._drop = drop

    async def accept(
        self, image: bytes, submission: Submission, max_backlog: int | None = None
    ) -> Prediction:
        """What `Intake.accept` does for an image without an id of the caller's. Raises QueueFull or another Unavailable."""
        chosen = new_id()
        key = input_key(chosen, "")
        put = ("SET", stored_key(key), image, "EX", self._blob_ttl_s)
        create = self._ledger.creation(chosen, submission, "", len(image), max_backlog)
        try:
            try:
                answer = await self._store(put, create)
            except Unavailable as error:
                if not isinstance(error.__cause__, ConnectionError):
                    raise
                # Redis has been away, and the connection did not notice. Once more on a new one: the id makes it the same.
                answer = await self._store(put, create)
            created = self._ledger.read_created(answer, chosen, submission, "")
        except (QueueFull, Unavailable):
            self._drop(key)
            raise
        if created.waiting <= MAX_WAITING_RINGS:
            self._ring(chosen)
        return created.prediction

    async def _store(self, put: tuple[Any, ...], create: ScriptCall) -> Any:
        if self._blobs is None:
            with translated():
                stored, answer = await run_async(self._pipe, create, before=[put])
            with translated(BlobsUnavailable):
                _raised(stored)
        else:
            with translated(BlobsUnavailable):
                _raised(*await self._blobs.send(put))
            with translated():
                (answer,) = await run_async(self._pipe, create)
        with translated():
            _raised(answer)
        return answer


def _raised(answer: object) -> None:
    if isinstance(answer, Exception):
        raise answer
