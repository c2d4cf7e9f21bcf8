"""A real S3 server in a process of its own: `python -m tests.support.s3 PORT`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.servers import free_port, stopped

# The server accepts any credentials.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "us",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_REGION": "us-east-1",
}
BUCKET = "images"


class Server:
    """A server with one bucket in memory, which a test of an outage stops and does not kill."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        env = {**os.environ, **CREDENTIALS}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.s3", str(self.port)],
            env=env,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while True:
            try:
                assert httpx.put(f"{self.url}/{BUCKET}").is_success
                return process
            except httpx.TransportError:
                assert time.monotonic() < until, "the S3 server did not start"
                time.sleep(0.1)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server hang for a while: it accepts connections and answers nothing."""
        with stopped(self._process.pid):
            yield

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)


if __name__ == "__main__":
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    logging.disable(logging.CRITICAL)
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
    )
