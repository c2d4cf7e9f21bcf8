"""FastAPI and Celery: the engine is in the worker's process, and the image in the message."""

import os
from functools import cache
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from celery.signals import worker_init
from fastapi import FastAPI, Request

from benchmarks.peers.detector import Detector

queue = Celery("peers", broker=os.environ["PEERS_REDIS"], backend=os.environ["PEERS_REDIS"])
app = FastAPI()


@cache
def _detector() -> Detector:
    return Detector()


@worker_init.connect
def _load(**_: Any) -> None:
    _detector()


@queue.task
def detect(data: bytes) -> dict[str, Any]:
    return _detector()(data)


@app.post("/predictions", status_code=202)
async def submit(request: Request) -> dict[str, str]:
    return {"id": detect.delay(await request.body()).id}


@app.get("/predictions/{task_id}")
def result(task_id: str) -> dict[str, Any]:
    task = AsyncResult(task_id, app=queue)
    return {"status": task.status, "output": task.result if task.successful() else None}
