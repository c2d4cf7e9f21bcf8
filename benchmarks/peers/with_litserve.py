"""LitServe: one worker process with the engine. `python -m benchmarks.peers.with_litserve PORT`."""

import sys
from typing import Any

import litserve
from fastapi import UploadFile

from benchmarks.peers.detector import Detector


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.detector = Detector()

    def decode_request(self, request: UploadFile) -> bytes:
        return request.file.read()

    def predict(self, data: bytes) -> dict[str, Any]:
        return self.detector(data)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
