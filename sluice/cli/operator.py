"""The operator's tools: the dead letters, and the webhooks' deliveries and secrets, in Redis.

The commands import this module only when they run: Celery and Redis are slow to import.
"""

from sluice.errors import NotFound
from sluice.intake.requeue import requeue
from sluice.ledger.deliveries import RedisDeliveries
from sluice.prediction import Prediction
from sluice.redisio import connection
from sluice.settings import Settings
from sluice.stores import Stores
from sluice.webhooks.secrets import RedisSecrets


class DeadLetters:
    """The dead letters of one queue. Every method raises Unavailable when Redis is unavailable."""

    def __init__(self, settings: Settings) -> None:
        self._stores = Stores.open(settings, settings.redis.worker_timeout_s)

    def all(self) -> list[Prediction]:
        """All dead letters, the newest first."""
        return self._stores.ledger.dead()

    def get(self, prediction_id: str) -> Prediction:
        """One dead letter. Raises NotFound."""
        for letter in self.all():
            if letter.id == prediction_id:
                return letter
        raise NotFound(f"there is no dead letter {prediction_id!r}; `sluice dead list` names them")

    def requeue(self, prediction_id: str) -> Prediction:
        """Submit a dead letter's image again; see `sluice.intake.requeue`."""
        stores = self._stores
        return requeue(prediction_id, stores.ledger, stores.blobs, stores.intake)


class WebhookTools:
    """The deliveries and the signing secrets.

    Every method of `deliveries` and `secrets` raises Unavailable when Redis is unavailable.
    """

    def __init__(self, settings: Settings) -> None:
        client = connection.connect(settings.redis_address(settings.redis.worker_timeout_s))
        self.deliveries = RedisDeliveries(client, settings.queue.name, settings.webhooks)
        self.secrets = RedisSecrets(client, settings.queue.name)
