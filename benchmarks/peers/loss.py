"""Accepted images that get no result when the worker and Redis are killed: FastAPI with Celery, us.

`python -m benchmarks.peers.loss`: 200 images are accepted. When 60 have a result, the worker and
Redis are killed and started again. Celery runs twice: on a Redis with defaults, and on one with an
append-only file. The service's Redis has that file too.
Images that Celery's worker had fetched but not begun come back after an hour, which is not awaited.
The service's come back when their leases lapse, which takes half a minute.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from benchmarks.peers import peer
from benchmarks.speed import models, service
from benchmarks.speed.models import Files
from benchmarks.speed.run import tell
from sluice.local.paths import CHECKOUT

IMAGES, KILLED_AFTER = 200, 60
_QUIET_S = 60.0
"""After such a time without a new result, none will come."""
_ENDED = ("succeeded", "SUCCESS")


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, and print a line for each."""
    peer.environment().ensure(print)
    with tempfile.TemporaryDirectory(prefix="sluice-loss-") as temporary:
        files = Files.write(Path(temporary), None)
        for append_only in (False, True):
            with peer.running("Celery", files, append_only=append_only) as process:
                peer.until_answered(process.job(files))
                calls = Calls(process.port, "/predictions", "/predictions/{id}", files)
                kind = "an append-only file" if append_only else "defaults"
                _tell(f"FastAPI with Celery, Redis with {kind}", calls, lambda: _again(process))
        repository = models.repository(CHECKOUT, files, Path(temporary) / "m", {"ort": "ort"})
        with service.running(CHECKOUT, repository) as running:
            path = "/v1/predictions"
            calls = Calls(running.port, f"{path}?model=ort", f"{path}/{{id}}", files)
            _tell("this service", calls, running.kill_worker_and_redis)


class Calls:
    """Submissions of one image, and the results that were seen."""

    def __init__(self, port: int, path: str, result: str, files: Files) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self._path, self._result = path, result
        self._image = files.image.read_bytes()
        self._left: set[str] = set()
        self.results = 0

    def submit(self, count: int) -> None:
        headers = {"Content-Type": "image/jpeg"}
        for _ in range(count):
            answer = self._http.post(self._path, content=self._image, headers=headers)
            self._left.add(answer.raise_for_status().json()["id"])

    def look(self) -> int:
        """Ask for each result that is missing; returns how many results there are."""
        for call_id in list(self._left):
            try:
                answer = self._http.get(self._result.format(id=call_id))
                ended = answer.is_success and answer.json()["status"] in _ENDED
            except (httpx.TransportError, json.JSONDecodeError):
                continue
            if ended:
                self._left.remove(call_id)
                self.results += 1
        return self.results


def _tell(title: str, calls: Calls, kill: Callable[[], None]) -> None:
    tell(title)
    calls.submit(IMAGES)
    while calls.look() < KILLED_AFTER:
        time.sleep(0.05)
    kill()
    seen, since = calls.results, time.monotonic()
    while seen < IMAGES and time.monotonic() < since + _QUIET_S:
        if calls.look() > seen:
            seen, since = calls.results, time.monotonic()
        time.sleep(0.2)
    print(f"{title}: {IMAGES - seen} of {IMAGES} without a result", flush=True)


def _again(process: peer.Peer) -> None:
    process.kill(0, 1)  # Redis and the worker; the api stays
    process.start()


if __name__ == "__main__":
    main()
