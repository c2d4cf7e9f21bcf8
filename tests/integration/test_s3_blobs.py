"""The main road with the images in S3: a stack of the test's own, and a real S3 server that may hang."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sluice.client.client import Client, ServiceError
from tests.support import s3

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    server = s3.Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stack(
    server: s3.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Client, dict[str, int]]]:
    """A client of it, and its processes."""
    state = tmp_path_factory.mktemp("s3-state")
    command = [
        sys.executable,
        "-m",
        "sluice",
        "up",
        "--json",
        "--port",
        "0",
        "--workers",
        "1",
        "--state",
        str(state),
    ]
    settings = {
        "SLUICE_BLOBS_URL": f"s3://{s3.BUCKET}/predictions",
        "SLUICE_BLOBS_S3_ENDPOINT": server.url,
        "SLUICE_BLOBS_S3_ALLOW_HTTP": "true",
        "SLUICE_REDIS_WORKER_TIMEOUT_S": "2",  # so that a worker notices soon
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **s3.CREDENTIALS, **settings}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"sluice up ended with {process.wait()}"
        said = json.loads(line)
        pids = json.loads((Path(said["state"]) / "stack.json").read_text())["pids"]
        with Client(said["addresses"]["api"]) as client:
            yield client, pids
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def _objects(server: s3.Server) -> str:
    return httpx.get(f"{server.url}/{s3.BUCKET}?list-type=2").text


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_submit_result_and_annotated_image(
    stack: tuple[Client, dict[str, int]], server: s3.Server, sample: bytes
) -> None:
    client, _ = stack
    prediction = client.wait(client.submit(sample, visualize=True)["id"], timeout_s=60)
    assert prediction["status"] == "succeeded"
    assert prediction["output"]["predictions"]
    image = httpx.get(f"{prediction['urls']['get']}/image")
    assert image.is_success
    assert image.headers["Content-Type"] == "image/jpeg"
    assert f"predictions/{prediction['id']}/annotated" in _objects(server)
    _until(
        lambda: f"{prediction['id']}/input" not in _objects(server)
    )  # deleted when the end was on record


def test_what_was_accepted_succeeds_when_a_store_that_hung_is_back(
    stack: tuple[Client, dict[str, int]], server: s3.Server, sample: bytes
) -> None:
    client, pids = stack
    worker = next(pid for name, pid in pids.items() if name.startswith("worker"))
    os.kill(worker, signal.SIGSTOP)
    try:
        accepted = [client.submit(sample)["id"] for _ in range(5)]
        with server.held():
            os.kill(worker, signal.SIGCONT)
            with pytest.raises(ServiceError) as refused:
                client.submit(sample)
            assert refused.value.status == 503
            assert refused.value.code == "blobs_unavailable"
            _until(
                lambda: any("blobs_unavailable" in client.get(name)["logs"] for name in accepted)
            )
    finally:
        os.kill(worker, signal.SIGCONT)
    assert {client.wait(name, timeout_s=120)["status"] for name in accepted} == {"succeeded"}
