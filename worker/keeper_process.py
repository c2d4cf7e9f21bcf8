"""The keeper as a process, `python -m worker keeper`: its rounds need no living worker."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sluice import logs
from sluice.blobs.store import Blobs
from sluice.intake.doorbell import Doorbell
from sluice.ledger.predictions import Ledger
from sluice.ledger.presence import Presence, RedisPresence
from sluice.ledger.timeline import RedisTimeline
from sluice.metrics.process import add_process
from sluice.metrics.recorder import Recorder
from sluice.metrics.server import serve
from sluice.metrics.sweeps import SweepMetrics
from sluice.settings import QueueSettings, Settings
from sluice.stores import Stores, watch_redis
from worker.presence import LOOK_S, PresenceWatch
from worker.rounds import attempt_round, sweep_round
from worker.tally import Tally


def main() -> None:
    """Run rounds until a signal ends the process, which may be in the middle of a round.

    Raises ValueError for a wrong setting.
    """
    settings = Settings.from_env()
    logs.configure(settings.log, "keeper")
    stores = Stores.open(settings, settings.redis.worker_timeout_s)
    watch_redis(stores, settings)
    recorder = Recorder()
    metrics = SweepMetrics(recorder)
    add_process(recorder)
    serve(recorder, settings.metrics)
    alive_file = settings.worker.alive_file
    run_forever(
        stores.ledger,
        stores.blobs,
        stores.doorbell,
        settings.queue,
        RedisPresence(stores.redis, settings.queue),
        Path(alive_file) if alive_file else None,
        report=Tally(RedisTimeline(stores.redis, settings.queue)).record,
        metrics=metrics,
    )


def run_forever(
    ledger: Ledger,
    blobs: Blobs,
    doorbell: Doorbell,
    settings: QueueSettings,
    presence: Presence,
    alive_file: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
    report: Callable[[], None] = lambda: None,
    metrics: SweepMetrics | None = None,
) -> NoReturn:
    """Run a round every `settings.sweep_interval_s`; a failed round is followed by the next.

    The interval varies a little, so that keepers started together spread their rounds.
    `alive_file` is touched every second, unless a round hangs. `report` samples the queue once a
    round, for the timeline.
    """

    def sweep() -> None:
        sweep_round(ledger, blobs, doorbell, settings.dead_retention_s, metrics)

    def round_() -> None:
        sweep()
        report()

    watch = PresenceWatch(presence, sweep)
    next_at = time.monotonic()
    while True:
        if alive_file:
            alive_file.touch()
        if time.monotonic() >= next_at:
            pause_s = attempt_round(round_, settings.sweep_interval_s, metrics=metrics)
            next_at = time.monotonic() + pause_s
        watch.look()
        sleep(min(LOOK_S, settings.sweep_interval_s))
