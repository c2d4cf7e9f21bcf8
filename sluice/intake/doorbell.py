"""The Celery app, and the doorbell: a message without content that wakes one worker.

The ledger holds the queue. A worker that gets the message claims the next predictions there, until
none is due. A lost message delays a prediction until the keeper rings. A message that arrives twice
does no harm. The reasons for Celery's settings are in docs/decisions/0002-doorbell.md.
"""

import base64
import json
import uuid
from typing import Any, Protocol

import redis
from celery import Celery
from kombu.serialization import dumps

from sluice.redisio.connection import celery_options, translated
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.settings import RedisAddress

TASK = "sluice.predict"
#: With so many messages waiting, more are of no use: a woken worker runs until none is due.
MAX_WAITING_RINGS = 64
_PLACE_OF_ID = "<id>"


class Doorbell(Protocol):
    """Wakes workers."""

    def ring(self) -> None:
        """Wake one worker. At most MAX_WAITING_RINGS rings wait. Raises RedisUnavailable."""

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
    """Rings by a Celery message, which `client` puts into Celery's list `queue` itself.

    Celery makes the message once: `send_task` costs four times the processor time.
    """

    def __init__(self, app: Celery, client: "redis.Redis", queue: str) -> None:
        self._app = app
        self._redis = client
        self.queue = queue
        self._message: str | None = None

    def message(self) -> str:
        """A new message: the one that a ring puts at the front of `queue`."""
        if self._message is None:
            self._message = _message(self._app, self.queue)
        return self._message.replace(_PLACE_OF_ID, str(uuid.uuid4()))

    def ring(self) -> None:
        with translated():
            waiting: Any = self._redis.lpush(self.queue, self.message())
            if waiting > MAX_WAITING_RINGS:
                self._redis.ltrim(self.queue, 0, MAX_WAITING_RINGS - 1)

    def waiting(self) -> int:
        with translated():
            return int(self._redis.llen(self.queue))


class AsyncDoorbell:
    """`CeleryDoorbell.ring` on an event loop. A change of threads would cost more than the ring.

    `connection` waits for no replicas: a lost ring does no harm.
    """

    def __init__(self, doorbell: CeleryDoorbell, connection: MultiplexedConnection) -> None:
        self._doorbell = doorbell
        self._connection = connection
        doorbell.message()  # the first one takes long

    async def ring(self) -> None:
        """Wake one worker. At most MAX_WAITING_RINGS rings wait. Raises RedisUnavailable."""
        queue = self._doorbell.queue
        with translated():
            (waiting,) = await self._connection.ask(("LPUSH", queue, self._doorbell.message()))
            if waiting > MAX_WAITING_RINGS:
                await self._connection.ask(("LTRIM", queue, 0, MAX_WAITING_RINGS - 1))


def _message(app: Celery, queue: str) -> str:
    """The message that `app.send_task(TASK)` sends, with a mark in place of each new id.

    The form is that of Celery's protocol 2, in the JSON of kombu's transport for Redis.
    """
    task = app.amqp.as_task_v2(_PLACE_OF_ID, TASK, (), {}, ignore_result=None)
    content_type, encoding, body = dumps(task.body, "json")  # type: ignore[no-untyped-call]
    properties = {
        **task.properties,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": _PLACE_OF_ID,
    }
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": task.headers,
            "properties": properties,
        }
    )
