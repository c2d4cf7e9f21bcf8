"""The cost of the ledger: predictions per second of one worker, against Celery alone.

Celery alone has only its message: late acknowledgement, no result backend, the id as its argument.
The ledger adds a doorbell, a claim, a record of the end, and the removal of the image. Both do the
same work: nothing at all, or the real pipeline.
"""

import os
import statistics
import sys
from typing import Any

from pydantic import SecretStr

from benchmarks.common import IMAGE, client, drained, process, stack
from sluice.blobs.store import input_key
from sluice.prediction import Prediction, Status, Submission
from sluice.settings import QueueSettings, RedisSettings, Settings
from sluice.stores import Stores
from sluice.vision.triton.client import Triton
from worker import tasks
from worker.pipeline import Pipeline
from worker.runner import Runner
from worker.stages import Stages
from worker.watchdog import LeaseWatchdog

QUEUE = "price"
CONCURRENCY = 2
ROUNDS = 5
COUNTS = {"nothing": 1500, "pipeline": 300}


def main() -> None:
    with stack("redis", "triton") as running:
        for work, count in COUNTS.items():
            ratios = []
            for _ in range(ROUNDS):
                speeds = {mode: _speed(running, mode, work, count) for mode in ("celery", "ledger")}
                ratios.append(speeds["ledger"] / speeds["celery"])
                print(
                    f"{work}: celery {speeds['celery']:.0f}/s, ledger {speeds['ledger']:.0f}/s,"
                    f" ratio {ratios[-1]:.2f}",
                    flush=True,
                )
            print(f"{work}: median ratio {statistics.median(ratios):.2f}", flush=True)


def _speed(running: Any, mode: str, work: str, count: int) -> float:
    redis = client(running)
    redis.flushall()
    stores = _stores(running.addresses.redis, QueueSettings(name=QUEUE, max_bytes=10**10))
    image = IMAGE if work == "pipeline" else b"x"
    for number in range(count):
        if mode == "ledger":
            stores.intake.accept_new(image, Submission(model="codes"))
        else:
            stores.blobs.put(input_key(str(number), ""), image, 3600)
            stores.celery.send_task("plain", [str(number)], queue=QUEUE, retry=False)
    environment = {
        "PRICE_REDIS": running.addresses.redis,
        "PRICE_TRITON": running.addresses.triton_grpc,
    }

    def left() -> int:
        return (
            stores.ledger.backlog()
            if mode == "ledger"
            else int(redis.llen(QUEUE)) + int(redis.hlen("unacked"))
        )

    with process("-m", "benchmarks.price", mode, work, environment=environment):
        return drained(left, count)


def _stores(url: str, queue: QueueSettings) -> Stores:
    settings = Settings(redis=RedisSettings(url=SecretStr(url)), queue=queue)
    return Stores.open(settings, timeout_s=10)


class NoWork:
    """A pipeline that does nothing."""

    def run(self, prediction: Prediction, stages: Stages) -> dict[str, Any]:
        stages.seconds["predict_time"] = 0.0
        return {}


def _serve(mode: str, work: str) -> None:
    """Run the worker under test. The modes differ only in the handling of a message."""
    url = os.environ["PRICE_REDIS"]
    stores = _stores(url, QueueSettings(name=QUEUE))
    ledger, blobs, app = stores.ledger, stores.blobs, stores.celery
    pipeline: Any = NoWork()
    if work == "pipeline":
        pipeline = Pipeline(
            blobs,
            Triton(os.environ["PRICE_TRITON"], timeout_s=30),
            50_000_000,
            3600,
            fetch=str.encode,
        )
    if mode == "ledger":
        watchdog = LeaseWatchdog(ledger, lease_s=30)
        watchdog.start()
        tasks.register(
            app,
            Runner(ledger, blobs, pipeline, watchdog, QueueSettings(name=QUEUE), worker="bench"),
        )
    else:
        app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
        app.conf.broker_transport_options["ack_emulation"] = True

        @app.task(name="plain")
        def plain(prediction_id: str) -> None:
            pipeline.run(
                Prediction(id=prediction_id, model="codes", status=Status.PROCESSING, created_at=0),
                Stages(),
            )

    app.conf.worker_redirect_stdouts = False  # the watchdog writes to the real stderr
    options = ["--pool=threads", f"--concurrency={CONCURRENCY}", "--loglevel=ERROR"]
    app.worker_main(
        [
            "--quiet",
            "worker",
            *options,
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


if __name__ == "__main__":
    _serve(*sys.argv[1:])
