"""Celery's worker, without the plain text of its command line."""

from typing import Any

from celery import Celery
from celery.apps import worker as celery_worker

from worker.consumer import DoorbellConsumer


class CeleryWorker(celery_worker.Worker):  # type: ignore[misc]  # Celery has no types
    """Receives the doorbell's messages, until SIGTERM or SIGINT. `start` runs it.

    Celery's own program is not imported: its shell and its colours would take 9 MB of memory.
    """

    def __init__(self, app: Celery, *, threads: int) -> None:
        app.conf.worker_consumer = DoorbellConsumer
        super().__init__(
            app,
            quiet=True,
            pool_cls="threads",
            concurrency=threads,
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )

    def install_platform_tweaks(self, worker: Any) -> None:
        """Install Celery's signal handlers, without the text that they write at a usual end."""
        super().install_platform_tweaks(worker)
        celery_worker.install_worker_term_handler(worker, verbose=False)
        celery_worker.install_worker_term_handler(
            worker, sig="SIGINT", callback=_end_at_once_next_time, verbose=False
        )


def _end_at_once_next_time(worker: Any) -> None:
    """Let a second SIGINT end the process without a wait for what runs."""
    celery_worker.install_worker_term_hard_handler(worker, sig="SIGINT", verbose=False)
