"""`Intake.accept_new` on the event loop. A change of threads would cost more than the work itself.

Both commands travel in one message where the ledger's Redis also has the images. Redis runs them
in order: first the image is stored, then the prediction is on record.
"""

from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError

from sluice.blobs.store import input_key, stored_key
from sluice.errors import BlobsUnavailable, QueueFull, Unavailable
from sluice.ids import new_id
from sluice.intake.intake import needs_ring
from sluice.intake.turns import Turns
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Prediction, Submission
from sluice.redisio.connection import translated
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.scripts import ScriptCall, run_async

#: Submissions on their way to Redis at once. The others of a burst wait outside the connection's
#: buffer, where their images would stand twice in memory.
IN_FLIGHT = 32


class FastIntake:
    """Accepts new predictions on one event loop.

    `blobs` is the connection to the images' Redis, None where the ledger's Redis has them.
    `ring` wakes a worker for a prediction's id. `expire_orphan` gets the blob key of an image that
    may belong to no prediction. Neither may block.
    """

    def __init__(
        self,
        ledger: RedisLedger,
        connection: MultiplexedConnection,
        blobs: MultiplexedConnection | None,
        *,
        blob_ttl_s: int,
        ring: Callable[[str], object],
        expire_orphan: Callable[[str], object],
        id_prefix: str = "",
    ) -> None:
        self._id_prefix = id_prefix
        self._ledger = ledger
        self._connection = connection
        self._blobs = blobs
        self._blob_ttl_s = blob_ttl_s
        self._ring = ring
        self._expire_orphan = expire_orphan
        self._turns = Turns(IN_FLIGHT)

    async def accept_new(
        self, image: bytes, submission: Submission, *, max_backlog: int | None = None
    ) -> Prediction:
        """Accept a submission under a new id; see `Intake.accept_new`.

        Raises QueueFull or another Unavailable.
        """
        prediction_id = new_id(self._id_prefix)
        blob_key = input_key(prediction_id, "")
        store = ("SET", stored_key(blob_key), image, "EX", self._blob_ttl_s)
        create = self._ledger.creation(prediction_id, submission, "", len(image), max_backlog)
        try:
            async with self._turns:
                answer = await self._send_with_retry(store, create)
            created = self._ledger.read_created(answer, prediction_id, submission, "")
        except (QueueFull, Unavailable):
            self._expire_orphan(blob_key)
            raise
        if needs_ring(created):
            self._ring(prediction_id)
        return created.prediction

    async def _send_with_retry(self, store: tuple[Any, ...], create: ScriptCall) -> Any:
        """Send the commands, and once more where the connection had broken unnoticed.

        The second time is safe: the id is the same, and is recorded at most once.
        """
        try:
            return await self._send(store, create)
        except Unavailable as error:
            if not isinstance(error.__cause__, ConnectionError):
                raise
            return await self._send(store, create)

    async def _send(self, store: tuple[Any, ...], create: ScriptCall) -> Any:
        """Store the image and record the prediction. Returns Redis's answer to `create`."""
        if self._blobs is None:
            with translated():
                stored, answer = await run_async(self._connection, create, before=[store])
            with translated(BlobsUnavailable):
                _raise_error(stored)
        else:
            with translated(BlobsUnavailable):
                _raise_error(*await self._blobs.send(store))
            with translated():
                (answer,) = await run_async(self._connection, create)
        with translated():
            _raise_error(answer)
        return answer


def _raise_error(answer: object) -> None:
    """Raise an answer that is an error."""
    if isinstance(answer, Exception):
        raise answer
