"""The Python client on the live stack."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import pytest

from sluice.client import AsyncClient, Client, Prediction, ServiceError
from sluice.webhooks.receiver import Receiver
from tests.support.live import Live
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))


@pytest.fixture(scope="module")
def service(live: Live) -> Iterator[Client]:
    with Client(live.api) as client:
        yield client


@contextmanager
def _answers_are_lost(api: str, count: int) -> Iterator[str]:
    """A server before the api that closes `count` connections instead of passing the answer on."""
    host, _, port = api.removeprefix("http://").rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(count + 1):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, socket.create_connection((host, int(port))) as inner:
                threads = [
                    threading.Thread(target=_copy, args=[connection, inner, False]),
                    threading.Thread(target=_copy, args=[inner, connection, number < count]),
                ]
                for thread in threads:
                    thread.start()
                threads[1].join()
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        thread.join()


def _copy(source: socket.socket, target: socket.socket, lose: bool) -> None:
    """Copy until one side closes; with `lose`, only until there is something to copy."""
    with suppress(OSError):
        while (data := source.recv(65_536)) and not lose:
            target.sendall(data)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


def test_an_image_runs_in_each_form(service: Client) -> None:
    path = SAMPLES[0]
    forms = [path, str(path), path.read_bytes(), cv2.imread(str(path))]
    found = []
    for form in forms:
        prediction = service.run(form, model="codes")
        assert prediction.output is not None
        found.append(sorted(entry.class_name for entry in prediction.output.detections))
    assert found[0]
    assert found == found[:1] * 4


def test_a_lost_answer_makes_no_second_prediction(live: Live, service: Client) -> None:
    with _answers_are_lost(live.api, 2) as address, Client(address) as client:
        submitted = client.submit(SAMPLES[0], metadata={"test": "lost answers"})
    same = [
        entry for entry in service.predictions() if entry.metadata.get("test") == "lost answers"
    ]
    assert [entry.id for entry in same] == [submitted.id]


def test_many_images_run_in_order(service: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    results = list(service.run_many([SAMPLES[0], bad, SAMPLES[0]], concurrency=3))
    assert isinstance(results[0], Prediction)
    assert isinstance(results[1], ServiceError)
    assert isinstance(results[2], Prediction)
    assert results[0].succeeded
    assert results[2].succeeded


@pytest.mark.anyio
async def test_the_asynchronous_client_runs_images(live: Live) -> None:
    async with AsyncClient(live.api) as client:
        ids = [
            result.id
            async for result in client.run_many(SAMPLES[:2] * 2, concurrency=4)
            if isinstance(result, Prediction) and result.succeeded
        ]
        assert len(set(ids)) == 4
        listed = [entry.id async for entry in client.predictions()]
        assert set(ids) <= set(listed)


def test_a_batch_counts_its_images(service: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    batch = service.wait_batch(service.submit_batch([SAMPLES[0], bad], confidence=0.4).id)
    assert batch.counts["succeeded"] == 1
    assert [(error.index, error.name) for error in batch.errors] == [(1, str(bad))]
    (prediction,) = service.batch_predictions(batch.id)
    assert prediction.raw["input"]["confidence"] == 0.4


def test_a_file_is_uploaded_submitted_by_its_url_and_deleted(service: Client) -> None:
    file = service.upload(SAMPLES[0])
    assert file.id in [listed.id for listed in service.files()]
    assert service.run(file.url).succeeded
    service.delete_file(file.id)
    assert file.id not in [listed.id for listed in service.files()]


def test_models_and_the_queue_are_read(service: Client) -> None:
    assert any(model.default and model.ready for model in service.models())
    assert service.model("codes").classes
    assert service.queue().workers >= 1


def test_an_event_of_a_webhook_is_read_and_sent_again(service: Client) -> None:
    arrived = threading.Semaphore(0)
    with Receiver(service.webhook_secret, lambda event: arrived.release()) as receiver:
        prediction = service.run(
            SAMPLES[0], webhook=receiver.url, webhook_events_filter=["completed"]
        )
        assert arrived.acquire(timeout=30)
        (delivery,) = service.deliveries(prediction.id)
        assert delivery.type == "prediction.completed"
        assert service.redeliver(delivery.id).id == delivery.id
        assert arrived.acquire(timeout=30)


def test_the_annotated_image_is_fetched(service: Client) -> None:
    prediction = service.run(SAMPLES[0], visualize=True, output_format="png")
    assert service.annotated(prediction.id).startswith(b"\x89PNG")


def test_an_ended_prediction_can_not_be_canceled(service: Client) -> None:
    prediction = service.run(SAMPLES[0])
    with pytest.raises(ServiceError) as caught:
        service.cancel(prediction.id)
    assert caught.value.status == 409
