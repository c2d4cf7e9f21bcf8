"""The worker process, `python -m worker`: builds every part, and closes it at the end."""

import os
import secrets
import socket
import threading
import time
from pathlib import Path

import cv2
from celery import signals

from sluice import logs
from sluice.blobs.store import Blobs
from sluice.ledger.predictions import Ledger
from sluice.ledger.presence import RedisPresence
from sluice.ledger.timeline import RedisTimeline
from sluice.metrics.attempts import AttemptMetrics, add_worker
from sluice.metrics.exemplars import Exemplars
from sluice.metrics.process import add_process
from sluice.metrics.recorder import Recorder
from sluice.metrics.server import serve
from sluice.metrics.sweeps import SweepMetrics
from sluice.outbound.fetch import Fetcher
from sluice.outbound.guard import Guard
from sluice.settings import QueueSettings, Settings, TritonSettings
from sluice.stores import Stores, watch_redis
from sluice.tracing import Tracer, open_tracer
from sluice.tracing.current import current_trace_id
from sluice.vision.triton.client import Triton
from sluice.vision.triton.errors import ERRORS
from worker import tasks
from worker.breaker import Breaker
from worker.celery_worker import CeleryWorker
from worker.keeper import Keeper
from worker.malloc import keep_freed
from worker.memory import MemoryBudget
from worker.pipeline import Pipeline
from worker.presence import PresenceWatch
from worker.readiness import Readiness
from worker.rounds import sweep_round
from worker.runner import Runner
from worker.tally import Tally
from worker.watchdog import LeaseWatchdog

log = logs.get(__name__)

# Less than a supervisor waits before SIGKILL, even if Redis hangs. Leases lapse in any case.
_REQUEUE_S = 5.0


def main() -> None:
    """Serve until SIGTERM or SIGINT, and exit with status 0.

    Predictions that still run after the grace period are queued again.
    Raises ValueError for a wrong setting, and SystemExit when Celery ends without a signal.
    """
    settings = Settings.from_env()
    logs.configure(settings.log, "predictions")
    cv2.setNumThreads(settings.worker.opencv_threads)
    keep_freed(settings.worker.spare_bytes)
    stores = Stores.open(settings, settings.redis.worker_timeout_s)
    triton = _triton(settings.triton)
    watchdog = _watchdog(stores.ledger, settings)
    readiness = Readiness(_path(settings.worker.ready_file))
    pipeline = _pipeline(stores.blobs, triton, settings)
    tally = Tally(RedisTimeline(stores.redis, settings.queue))
    tracer = open_tracer(settings.tracing, "predictions")
    breaker = Breaker(tell=readiness.reaches_parts)
    recorder = _recorder(watchdog, breaker, settings)
    sweeps = SweepMetrics(recorder)
    attempts = AttemptMetrics(recorder, Exemplars(current_trace_id))
    runner = _runner(stores, pipeline, watchdog, breaker, attempts, tally, tracer, settings)
    keeper = _keeper(stores, runner, watchdog, readiness, sweeps, tally, settings)
    presence = _presence(stores, runner, sweeps, settings.queue)
    tasks.register(stores.celery, runner)
    _connect_signals(runner, watchdog, readiness, settings.worker.grace_s)
    watch_redis(stores, settings)
    stop_metrics = serve(recorder, settings.metrics)
    watchdog.start()
    keeper.start()
    presence.start()
    try:
        CeleryWorker(stores.celery, threads=settings.worker.concurrency).start()
    finally:
        readiness.end()
        presence.stop()
        keeper.stop()
        watchdog.stop()
        triton.close()
        if tracer:
            tracer.close()
        stop_metrics()
    if not runner.stopping:
        raise SystemExit("Celery met an error that it can't go on with; see the log")


def _recorder(watchdog: LeaseWatchdog, breaker: Breaker, settings: Settings) -> Recorder:
    recorder = Recorder()
    add_process(recorder)
    add_worker(
        recorder,
        slots=settings.worker.concurrency,
        running=lambda: watchdog.running,
        breaker_is_open=lambda: breaker.is_open,
        triton_errors=ERRORS,
    )
    return recorder


def _triton(settings: TritonSettings) -> Triton:
    return Triton(
        settings.grpc_url,
        timeout_s=settings.timeout_s,
        silence_s=settings.silence_s,
        shared_memory=settings.shared_memory == "auto",
        models_ttl_s=settings.models_ttl_s,
        region_prefix=settings.region_prefix,
    )


def _watchdog(ledger: Ledger, settings: Settings) -> LeaseWatchdog:
    return LeaseWatchdog(
        ledger,
        lease_s=settings.queue.lease_s,
        max_run_s=settings.worker.max_run_s,
        alive_file=_path(settings.worker.alive_file),
    )


def _pipeline(blobs: Blobs, triton: Triton, settings: Settings) -> Pipeline:
    fetcher = Fetcher(
        Guard(settings.netguard.allow),
        max_bytes=settings.limits.max_bytes,
        timeout_s=settings.fetch.timeout_s,
        max_redirects=settings.fetch.max_redirects,
    )
    return Pipeline(
        blobs,
        triton,
        max_pixels=settings.limits.max_pixels,
        annotated_ttl_s=settings.blobs.result_ttl_s,
        fetch=fetcher.get,
        memory=MemoryBudget(settings.worker.decode_bytes),
        max_tiles=settings.limits.max_tiles,
        tile_batch=settings.worker.tile_batch,
    )


def _runner(
    stores: Stores,
    pipeline: Pipeline,
    watchdog: LeaseWatchdog,
    breaker: Breaker,
    metrics: AttemptMetrics,
    tally: Tally,
    tracer: Tracer | None,
    settings: Settings,
) -> Runner:
    return Runner(
        stores.ledger,
        stores.blobs,
        pipeline,
        watchdog,
        settings.queue,
        # A restarted container has the same host and process id. The rest tells them apart.
        worker=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        breaker=breaker,
        metrics=metrics,
        on_end=tally.count,
        tracer=tracer,
    )


def _keeper(
    stores: Stores,
    runner: Runner,
    watchdog: LeaseWatchdog,
    readiness: Readiness,
    metrics: SweepMetrics,
    tally: Tally,
    settings: Settings,
) -> Keeper:
    return Keeper(
        stores.ledger,
        stores.blobs,
        stores.doorbell,
        runner,
        watchdog,
        interval_s=settings.queue.sweep_interval_s,
        dead_retention_s=settings.queue.dead_retention_s,
        stuck_after_s=settings.worker.stuck_after_s,
        is_troubled=lambda: readiness.lacks_parts,
        report=tally.record,
        takes_messages=lambda: readiness.takes_messages,
        metrics=metrics,
    )


def _presence(
    stores: Stores, runner: Runner, metrics: SweepMetrics, settings: QueueSettings
) -> PresenceWatch:
    def sweep() -> None:
        sweep_round(
            stores.ledger, stores.blobs, stores.doorbell, settings.dead_retention_s, metrics
        )

    return PresenceWatch(RedisPresence(stores.redis, settings, runner.worker), sweep)


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _connect_signals(
    runner: Runner, watchdog: LeaseWatchdog, readiness: Readiness, grace_s: float
) -> None:
    def keep_our_logging(**_: object) -> None:
        """Celery leaves logging alone where this signal has a receiver."""

    def show_ready(**_: object) -> None:
        readiness.has_broker()

    def limit_the_grace(**_: object) -> None:
        runner.stop()
        threading.Thread(
            target=_end_after, args=(grace_s, watchdog), name="grace", daemon=True
        ).start()

    # `weak=False`: Celery would drop these functions with the last other reference to them.
    signals.setup_logging.connect(keep_our_logging, weak=False)
    signals.worker_ready.connect(show_ready, weak=False)
    signals.worker_shutting_down.connect(limit_the_grace, weak=False)


def _end_after(grace_s: float, watchdog: LeaseWatchdog) -> None:
    """End the process after `grace_s`, and queue its predictions again within `_REQUEUE_S`."""
    log.info(
        "worker_stops",
        "the process claims no more predictions, and ends after the running ones",
        grace_s=grace_s,
    )
    time.sleep(grace_s)
    requeueing = threading.Thread(target=watchdog.requeue_all, name="requeue", daemon=True)
    requeueing.start()
    requeueing.join(_REQUEUE_S)
    os._exit(0)
