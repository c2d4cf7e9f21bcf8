"""Ray Serve's asynchronous inference, on Celery and Redis. Run with a port as its argument."""

import os
import signal
import sys
from typing import Any

import ray
from fastapi import FastAPI, Request
from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig
from ray.serve.task_consumer import (
    instantiate_adapter_from_config,
    task_consumer,
    task_handler,
)

from benchmarks.peers.detector import Detector

CONFIG = TaskProcessorConfig(
    queue_name="peers",
    adapter_config=CeleryAdapterConfig(
        broker_url=os.environ["PEERS_REDIS"], backend_url=os.environ["PEERS_REDIS"]
    ),
)
app = FastAPI()


@serve.deployment(max_ongoing_requests=2)
@task_consumer(task_processor_config=CONFIG)
class Consumer:
    def __init__(self) -> None:
        self.detector = Detector()

    @task_handler(name="detect")
    def detect(self, data: bytes) -> dict[str, Any]:
        return self.detector(data)


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Api:
    def __init__(self, consumer: DeploymentHandle) -> None:
        self.tasks = instantiate_adapter_from_config(CONFIG)

    @app.post("/predictions", status_code=202)
    async def submit(self, request: Request) -> dict[str, str]:
        return {"id": self.tasks.enqueue_task_sync("detect", args=[await request.body()]).id}

    @app.get("/predictions/{task_id}")
    async def result(self, task_id: str) -> dict[str, Any]:
        task = self.tasks.get_task_status_sync(task_id)
        return {"status": task.status, "output": task.result}


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Api.bind(Consumer.bind()))
    signal.pause()
