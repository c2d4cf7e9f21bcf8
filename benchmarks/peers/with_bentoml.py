"""BentoML: a plain API with the engine in its process, and no queue."""

from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.detector import Detector


@bentoml.service(traffic={"timeout": 60}, threads=2)
class Service:
    def __init__(self) -> None:
        self.detector = Detector()

    @bentoml.api
    def predict(self, image: Path) -> dict[str, Any]:
        return self.detector(image.read_bytes())
