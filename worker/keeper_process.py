"""The keeper process: `python -m worker keeper`. It keeps while there may be no worker, which would do so itself."""

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sluice.blobs.store import Blobs
from sluice.errors import SluiceError
from sluice.intake.doorbell import Doorbell
from sluice.ledger.predictions import Ledger
from sluice.settings import QueueSettings, Settings
from sluice.stores import Stores
from sluice.telemetry import configure_logging
from worker.keeper import keep

log = logging.getLogger(__name__)

_BEAT_S = 1.0


def main() -> None:
    """Keep until the process is told to end, which may be anywhere in a round. Raises ValueError for a setting that is wrong."""
    settings = Settings.from_env()
    configure_logging()
    stores = Stores.open(settings, settings.redis.worker_timeout_s)
    alive_file = settings.worker.alive_file
    run_forever(
        stores.ledger,
        stores.blobs,
        stores.doorbell,
        settings.queue,
        Path(alive_file) if alive_file else None,
    )


def run_forever(
    ledger: Ledger,
    blobs: Blobs,
    doorbell: Doorbell,
    settings: QueueSettings,
    alive_file: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """A round every `settings.sweep_interval_s`, a little off beat so that keepers started together spread.

    `alive_file` is touched every second, unless a round hangs. A round that fails is not the last.
    """
    next_at = time.monotonic()
    while True:
        if alive_file:
            alive_file.touch()
        if time.monotonic() >= next_at:
            try:
                keep(ledger, blobs, doorbell, settings.dead_retention_s)
            except SluiceError as error:
                log.warning("the keeper's round ended early: %s", error)
            except Exception:
                log.exception("the keeper's round failed; the next one comes")
            next_at = time.monotonic() + settings.sweep_interval_s * random.uniform(0.8, 1.0)
        sleep(min(_BEAT_S, settings.sweep_interval_s))
