"""The Celery tasks: a few lines over functions that take their collaborators."""

from celery import Celery

from sluice import logs
from sluice.errors import Unavailable
from sluice.intake.doorbell import TASK
from worker.runner import Runner

log = logs.get(__name__)


def register(app: Celery, runner: Runner) -> None:
    """Add the tasks to `app`."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery has no types
    def predict() -> None:
        """Run predictions until none is due."""
        try:
            while runner.run_one():
                pass
        except Unavailable as error:
            log.warning(
                "redis_away",
                "no prediction was claimed, or no result recorded; the keeper will ring",
                error=error,
            )
