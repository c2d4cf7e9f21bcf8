"""The Celery app, and the doorbell: a message that says "something is queued", never what.

The ledger holds which predictions wait; a worker that hears the bell claims the next one there. So a message that Celery loses
delays a prediction until the next sweep rings again, and one delivered twice finds nothing to do. The settings follow from what
was measured of Celery on Redis; the reasons are in docs/decisions/0002-doorbell.md.
"""

from typing import Protocol

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from sluice.errors import RedisUnavailable
from sluice.redisio.connection import translated

TASK = "sluice.predict"
MAX_WAITING_RINGS = (
    64  # whoever is woken goes on until nothing is due, so that more would find nothing
)


class Doorbell(Protocol):
    def ring(self) -> None:
        """Wake one worker, unless `ENOUGH` rings wait already. Raises RedisUnavailable."""

    def waiting(self) -> int:
        """How many rings no worker has heard yet. Raises RedisUnavailable."""


def make_app(
    redis_url: str,
    queue: str,
    *,
    connect_timeout_s: float,
    timeout_s: float,
    visibility_timeout_s: float = 60.0,
) -> Celery:
    """The Celery app of one process; connects on first use."""
    app = Celery("sluice", broker=redis_url)
    app.conf.update(
        task_default_queue=queue,
        task_ignore_result=True,
        # Early: nobody needs the message once it is heard. Neither this nor the prefetch goes with `worker_disable_prefetch`; the
        # decision says what happened.
        task_acks_late=False,
        task_publish_retry_policy={"max_retries": 0},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # What a killed worker had in hand comes again after so long: one ring too many.
            "visibility_timeout": visibility_timeout_s,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_key": f"unacked:{queue}",
            "unacked_index_key": f"unacked_index:{queue}",
            "unacked_mutex_key": f"unacked_mutex:{queue}",
            "socket_connect_timeout": connect_timeout_s,
            "socket_timeout": timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
        worker_pool="threads",  # gRPC does not survive a fork, and threads were faster
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        accept_content=["json"],
    )
    return app


class CeleryDoorbell:
    """`client` reads the list in which Celery keeps the messages of `queue`."""

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
