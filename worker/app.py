"""The worker process: `python -m worker`. Everything is built here, and taken down here."""

import os
import socket
from pathlib import Path

import cv2
from celery import signals

from sluice import redisio
from sluice.blobs import RedisBlobs
from sluice.ledger import RedisLedger
from sluice.queue import CeleryDoorbell, make_app
from sluice.settings import Settings
from sluice.telemetry import configure_logging
from sluice.triton import Triton
from worker import tasks
from worker.keeper import Keeper
from worker.pipeline import Pipeline
from worker.runner import Heart, Runner


def main() -> None:
    """Serve until SIGTERM or SIGINT, finishing what runs. Raises ValueError for a setting that is wrong."""
    settings = Settings()
    configure_logging()
    cv2.setNumThreads(settings.worker.opencv_threads)
    timeouts = {"connect_timeout_s": settings.redis.connect_timeout_s, "timeout_s": settings.redis.worker_timeout_s}
    client = redisio.connect(settings.redis_url, **timeouts)
    ledger = RedisLedger(client, settings.queue.name, settings.queue.retention_s)
    blobs = RedisBlobs(redisio.connect(settings.blobs_url, **timeouts))
    triton = Triton(
        settings.triton.grpc_url,
        timeout_s=settings.triton.timeout_s,
        shared_memory=settings.triton.shared_memory == "auto",
        models_ttl_s=settings.triton.models_ttl_s,
    )
    app = make_app(settings.redis_url, settings.queue.name, **timeouts)
    heart = Heart(ledger, settings.queue.lease_s)
    keeper = Keeper(
        ledger,
        CeleryDoorbell(app, client, settings.queue.name),
        max_lapses=settings.queue.max_lapses,
        interval_s=settings.queue.sweep_interval_s,
    )
    runner = Runner(
        ledger,
        blobs,
        Pipeline(blobs, triton, settings.limits.max_pixels, settings.blobs.result_ttl_s),
        heart,
        worker=f"{socket.gethostname()}/{os.getpid()}",
        lease_s=settings.queue.lease_s,
        retry_for_s=settings.queue.retry_for_s,
    )
    tasks.register(app, runner)

    # Celery keeps weak references to receivers, and these live as long as `main` runs.
    @signals.setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
    def _keep_our_logging(**_: object) -> None:
        """That somebody listens is what tells Celery to leave logging alone."""

    @signals.worker_ready.connect  # type: ignore[untyped-decorator]
    def _ready(**_: object) -> None:
        if settings.worker.ready_file:
            Path(settings.worker.ready_file).write_text(f"{os.getpid()}\n")

    heart.start()
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
        if settings.worker.ready_file:
            Path(settings.worker.ready_file).unlink(missing_ok=True)
        keeper.stop()
        heart.stop()
        triton.close()
