"""The cookbook's handlers: FastAPI before Triton, one image a call, as JSON with base64.

    python -m benchmarks.cookbook.handlers KIND --triton HOST:PORT --model NAME --port PORT

The kinds keep the cookbook's shape:

- `sync`: a handler `def`, which FastAPI runs on its pool of 40 threads.
- `async`: a handler `async def` around the same blocking call, so a process has one call at a time.
- `ensemble`: a handler `async def` again, before an ensemble that works and draws inside Triton.

Each call opens a client of its own. Replicas are processes with sockets on the same port. The
kernel spreads new connections over them by chance, as a Service of Kubernetes does.
"""

import argparse
import base64
import json
import socket
import time
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tritonclient import grpc

from benchmarks.cookbook import recipe

KINDS = ("sync", "async", "ensemble")
BACKLOG = 2048  # uvicorn's own


class Call(BaseModel):
    """The body of a call."""

    image: str
    """The image's file in base64."""


class Served:
    """The model behind the handlers. Raises InferenceServerException if Triton has none."""

    def __init__(self, triton: str, model: str, *, described: bool = True) -> None:
        self.triton, self.model = triton, model
        if not described:
            return
        with grpc.InferenceServerClient(triton) as client:
            config = client.get_model_config(model, as_json=True)["config"]
        first = config["input"][0]
        self.input, self.output = first["name"], config["output"][0]["name"]
        self.dtype = first["data_type"].removeprefix("TYPE_")
        sides = [int(side) for side in first["dims"]]
        self.hw = (sides[0], sides[1]) if self.dtype == "UINT8" else (sides[1], sides[2])
        names = config["parameters"]["sluice.names"]["string_value"]
        self.names: list[str] = json.loads(names)

    def infer(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Send one tensor, and return the raw output. The client lives for this call only."""
        with grpc.InferenceServerClient(self.triton) as client:
            asked = grpc.InferInput(self.input, list(tensor.shape), self.dtype)
            asked.set_data_from_numpy(tensor)
            wanted = [grpc.InferRequestedOutput(self.output)]
            answer = client.infer(self.model, [asked], outputs=wanted)
            return np.array(answer.as_numpy(self.output))

    def recipe(self, image: str) -> dict[str, Any]:
        """The answer of the kinds `sync` and `async`, with the drawing in base64."""
        start = time.perf_counter()
        pixels = recipe.read(image)
        boxed = recipe.letterbox(pixels, self.hw)
        raw = self.infer(recipe.tensor(boxed.canvas, self.dtype))
        found = recipe.detect(raw, boxed, pixels.shape[:2])
        drawn = recipe.draw(pixels, found, self.names)
        return {"process_time": time.perf_counter() - start, "results": found, "image": drawn}

    def ensemble(self, image: str) -> dict[str, Any]:
        """The answer of the kind `ensemble`: Triton decodes, works and draws."""
        start = time.perf_counter()
        inputs = []
        values = {"image": base64.b64decode(image), "request": b'{"draw": "jpg"}'}
        for name, data in values.items():
            inputs.append(grpc.InferInput(name, [len(data)], "UINT8"))
            inputs[-1].set_data_from_numpy(np.frombuffer(data, np.uint8))
        with grpc.InferenceServerClient(self.triton) as client:
            answer = client.infer(self.model, inputs)
        result = json.loads(answer.as_numpy("result").tobytes())
        drawn = base64.b64encode(answer.as_numpy("drawing")).decode()
        found = result["output"]["predictions"]
        return {"process_time": time.perf_counter() - start, "results": found, "image": drawn}


def app(kind: str, triton: str, model: str) -> FastAPI:
    """The application of one kind. Raises InferenceServerException if Triton has no such model."""
    served = Served(triton, model, described=kind != "ensemble")
    made = FastAPI()

    @made.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    if kind == "sync":

        @made.post("/")
        def answer_sync(call: Call) -> dict[str, Any]:
            return served.recipe(call.image)

    elif kind == "async":

        @made.post("/")
        async def answer_async(call: Call) -> dict[str, Any]:
            return served.recipe(call.image)

    else:

        @made.post("/")
        async def answer_ensemble(call: Call) -> dict[str, Any]:
            return served.ensemble(call.image)

    return made


def listener(host: str, port: int) -> socket.socket:
    """A listening socket that shares its port with other replicas."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    made.listen(BACKLOG)
    return made


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(description="One replica of a recipe of the cookbook.")
    made.add_argument("kind", choices=KINDS)
    made.add_argument("--triton", required=True, help="the address of Triton's gRPC")
    made.add_argument("--model", required=True)
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, required=True)
    return made


def main() -> None:
    options = parser().parse_args()
    cv2.setNumThreads(1)  # replicas share the cores, and OpenCV's threads would compete
    made = app(options.kind, options.triton, options.model)
    config = uvicorn.Config(made, access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener(options.host, options.port)])


if __name__ == "__main__":
    main()
