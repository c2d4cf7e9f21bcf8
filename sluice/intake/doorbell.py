"""The Celery app, and the doorbell: a message without content that wakes one worker.

The ledger holds the queue. A worker that gets the message claims the next predictions there, until
none is due. A lost message delays a prediction until the keeper rings. A message that arrives twice
does no harm. The reasons for Celery's settings are in docs/decisions/0002-doorbell.md.
"""

from typing import Protocol

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from sluice.errors import RedisUnavailable
from sluice.redisio.connection import celery_options, translated
from sluice.settings import RedisAddress

TASK = "sluice.predict"
#: With so many messages waiting, more are of no use: a woken worker runs until none is due.
MAX_WAITING_RINGS = 64


class Doorbell(Protocol):
    """Wakes workers."""

    def ring(self) -> None:
        """Wake one worker, unless MAX_WAITING_RINGS rings wait. Raises RedisUnavailable."""

    def waiting(self) -> int:
        """Return the number of rings that no worker has received. Raises RedisUnavailable."""


def make_app(address: RedisAddress, queue: str) -> Celery:
    """Return the Celery app of one process. The app connects on first use."""
    app = Celery("sluice")
    app.conf.update(celery_options(address))
    # No acknowledgement goes to Redis. A failed one would keep its place among the prefetched
    # messages for ever. A few of these would end all reading.
    app.conf.broker_transport_options["ack_emulation"] = False
    app.conf.update(
        task_default_queue=queue,
        task_ignore_result=True,
        task_acks_late=False,  # a received message has done its work
        task_publish_retry_policy={"max_retries": 0},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # errors of Redis pass, such as READONLY in a failover
        worker_pool="threads",  # gRPC does not survive a fork
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        accept_content=["json"],
    )
    return app


class CeleryDoorbell:
    """Rings by a Celery message. `client` reads the length of Celery's list `queue`."""

    def __init__(self, app: Celery, client: "redis.Redis", queue: str) -> None:
        self._app = app
        self._redis = client
        self._queue = queue

    def ring(self) -> None:
        if self.waiting() >= MAX_WAITING_RINGS:
            return
        try:
            self._app.send_task(TASK, queue=self._queue, retry=False)
        except OperationalError as error:
            raise RedisUnavailable("Redis is unavailable; try again later") from error

    def waiting(self) -> int:
        with translated():
            return int(self._redis.llen(self._queue))
