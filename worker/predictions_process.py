"""The worker process: `python -m worker`. Everything is built here, and taken down here."""

import os
import socket
import threading
import time
from pathlib import Path

import cv2
from celery import signals

from sluice.outbound.fetch import Fetcher
from sluice.outbound.guard import Guard
from sluice.settings import Settings
from sluice.stores import Stores
from sluice.telemetry import configure_logging
from sluice.vision.triton import Triton
from worker import tasks
from worker.keeper import Keeper
from worker.pipeline import Pipeline
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog

_GIVING_BACK_S = 5.0  # a Redis that hangs could hold it for longer than whoever sent SIGTERM waits, and leases lapse anyway


def main() -> None:
    """Serve until SIGTERM or SIGINT. What then still runs after the grace is queued again, and the exit status is 0 all the same.

    Raises ValueError for a setting that is wrong.
    """
    settings = Settings.from_env()
    configure_logging()
    cv2.setNumThreads(settings.worker.opencv_threads)
    stores = Stores.open(settings, settings.redis.worker_timeout_s)
    ledger, blobs, app = stores.ledger, stores.blobs, stores.celery
    triton = Triton(
        settings.triton.grpc_url,
        timeout_s=settings.triton.timeout_s,
        shared_memory=settings.triton.shared_memory == "auto",
        models_ttl_s=settings.triton.models_ttl_s,
        region_prefix=settings.triton.region_prefix,
    )
    alive_file = settings.worker.alive_file
    watchdog = LeaseWatchdog(
        ledger,
        lease_s=settings.queue.lease_s,
        max_run_s=settings.worker.max_run_s,
        alive_file=Path(alive_file) if alive_file else None,
    )
    fetcher = Fetcher(
        Guard(settings.netguard.allow),
        max_bytes=settings.limits.max_bytes,
        timeout_s=settings.fetch.timeout_s,
        max_redirects=settings.fetch.max_redirects,
    )
    runner = Runner(
        ledger,
        blobs,
        Pipeline(
            blobs, triton, settings.limits.max_pixels, settings.blobs.result_ttl_s, fetcher.get
        ),
        watchdog,
        settings.queue,
        worker=f"{socket.gethostname()}/{os.getpid()}",
    )
    keeper = Keeper(
        ledger,
        blobs,
        stores.doorbell,
        runner,
        watchdog,
        interval_s=settings.queue.sweep_interval_s,
        dead_retention_s=settings.queue.dead_retention_s,
        stuck_after_s=settings.worker.stuck_after_s,
    )
    tasks.register(app, runner)
    ready_file = Path(settings.worker.ready_file) if settings.worker.ready_file else None

    # Celery keeps weak references to receivers, and these live as long as `main` runs.
    @signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
    def _keep_our_logging(**_: object) -> None:
        """That somebody listens is what tells Celery to leave logging alone."""

    @signals.worker_ready.connect  # type: ignore[untyped-decorator]
    def _ready(**_: object) -> None:
        if ready_file:
            ready_file.write_text(f"{os.getpid()}\n")

    @signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
    def _bound_the_grace(**_: object) -> None:
        runner.stop()
        threading.Thread(
            target=_give_up_after,
            args=(settings.worker.grace_s, watchdog),
            name="grace",
            daemon=True,
        ).start()

    watchdog.start()
    keeper.start()
    try:
        app.worker_main(
            [
                "--quiet",
                "worker",
                f"--concurrency={settings.worker.concurrency}",
                "--pool=threads",
                "--loglevel=WARNING",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)
        keeper.stop()
        watchdog.stop()
        triton.close()


def _give_up_after(grace_s: float, watchdog: LeaseWatchdog) -> None:
    """End the process when the grace is over, whatever still runs: it is queued again first, as far as `_GIVING_BACK_S` go."""
    time.sleep(grace_s)
    giving = threading.Thread(target=watchdog.requeue_all, name="give-back", daemon=True)
    giving.start()
    giving.join(_GIVING_BACK_S)
    os._exit(0)
