"""The path of one image through a bucket: a stack, and a real S3 server that may hang."""

import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from sluice.client import ServiceError
from tests.support import s3
from tests.support.client import Client
from tests.support.live import Live, live_stack
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    server = s3.Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def live(server: s3.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A stack of the module's own."""
    env = {
        "SLUICE_BLOBS_URL": f"s3://{s3.BUCKET}/predictions",
        "SLUICE_BLOBS_S3_ENDPOINT": server.url,
        "SLUICE_BLOBS_S3_ALLOW_HTTP": "true",
        "SLUICE_REDIS_WORKER_TIMEOUT_S": "2",  # a worker notices soon that the bucket hangs
    }
    state = tmp_path_factory.mktemp("s3-state")
    with live_stack(state, workers=1, env=s3.CREDENTIALS | env) as live:
        yield live


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[Client]:
    with Client(live.api) as client:
        yield client


def _objects(server: s3.Server) -> str:
    return httpx.get(f"{server.url}/{s3.BUCKET}?list-type=2").text


def test_a_prediction_and_its_annotated_image_go_through_the_bucket(
    client: Client, server: s3.Server, sample: bytes
) -> None:
    prediction = client.wait(client.submit(sample, visualize=True)["id"], timeout_s=60)
    assert prediction["status"] == "succeeded"
    assert prediction["output"]["predictions"]
    image = httpx.get(f"{prediction['urls']['get']}/image")
    assert image.is_success
    assert image.headers["Content-Type"] == "image/jpeg"
    assert f"predictions/{prediction['id']}/annotated" in _objects(server)
    # The input is deleted once the end is recorded.
    until(lambda: f"{prediction['id']}/input" not in _objects(server))


def test_accepted_predictions_succeed_once_a_hanging_bucket_answers_again(
    live: Live, client: Client, server: s3.Server, sample: bytes
) -> None:
    (worker,) = live.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        accepted = [client.submit(sample)["id"] for _ in range(5)]
        with server.stopped():
            os.kill(worker, signal.SIGCONT)
            with pytest.raises(ServiceError) as refused:
                client.submit(sample)
            assert refused.value.status == 503
            assert refused.value.code == "blobs_unavailable"
            until(lambda: any("blobs_unavailable" in client.get(name)["logs"] for name in accepted))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert {client.wait(name, timeout_s=120)["status"] for name in accepted} == {"succeeded"}
