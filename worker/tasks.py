"""The Celery tasks: a few lines over functions that take their collaborators."""

from celery import Celery

from sluice.queue import TASK
from worker.runner import Runner


def register(app: Celery, runner: Runner) -> None:
    """Add the tasks to `app`."""

    @app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery has no types
    def predict() -> None:
        runner.run_one()
