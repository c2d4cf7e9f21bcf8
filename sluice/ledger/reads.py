"""`Ledger.get` on the event loop. A change of threads would cost more than the read itself."""

from sluice.ledger.record import read_record
from sluice.prediction import Prediction
from sluice.redisio.connection import translated
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.names import Names


class AsyncReads:
    """Reads records of one queue. `connection` waits for no replicas, since nothing is written."""

    def __init__(self, connection: MultiplexedConnection, queue: str) -> None:
        self._connection = connection
        self._names = Names(queue)

    async def get(self, prediction_id: str, key: str | None = None) -> Prediction:
        """See `Ledger.get`. Raises NotFound, Gone, RedisUnavailable."""
        commands = (
            ("HGETALL", self._names.prediction(prediction_id)),
            ("GET", self._names.gone(prediction_id)),
        )
        with translated():
            flat, gone = await self._connection.ask(*commands)
        return read_record(prediction_id, key, dict(zip(flat[::2], flat[1::2], strict=True)), gone)
