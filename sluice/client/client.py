"""The client of the HTTP interface, for programs without an event loop."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from sluice.client.calls import Call, Calls, Options, Pause
from sluice.client.errors import ServiceError
from sluice.client.images import Image
from sluice.client.results import (
    Batch,
    Delivery,
    File,
    Minute,
    Model,
    Page,
    Prediction,
    Queue,
)

T = TypeVar("T")


class Client:
    """A client of one service, for one thread or many. Every method raises ServiceError.

    `key` is an API key, for a service that needs one. `timeout_s` bounds the wait for an answer.
    Failed calls are repeated for `retry_for_s` seconds, where that does nothing twice.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        retry_for_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(retry_for_s)
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            transport=transport,
        )

    def submit(self, image: Image, **options: Unpack[Options]) -> Prediction:
        """Submit an image, and return the prediction as it starts.

        A lost answer never makes a second prediction: each call has an idempotency key.
        """
        return self._run(self._calls.submit(image, options))

    def run(
        self, image: Image, *, timeout_s: float = 300.0, **options: Unpack[Options]
    ) -> Prediction:
        """Submit an image, and return the prediction when it has ended, well or not.

        Raises ServiceError with the code `timeout` after `timeout_s` seconds.
        """
        return self._run(self._calls.run(image, options, timeout_s))

    def run_many(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = 8,
        timeout_s: float = 300.0,
        **options: Unpack[Options],
    ) -> Iterator[Prediction | ServiceError]:
        """Run many images, `concurrency` at a time, and yield the results in their order.

        `images` is read as places become free. An image that is refused gives its error.
        """

        def run(image: Image) -> Prediction | ServiceError:
            try:
                return self.run(image, timeout_s=timeout_s, **options)
            except ServiceError as error:
                return error

        running: deque[Future[Prediction | ServiceError]] = deque()
        with ThreadPoolExecutor(concurrency, "sluice-client") as pool:
            try:
                for image in images:
                    running.append(pool.submit(run, image))
                    if len(running) >= concurrency:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()

    def get(self, prediction_id: str, *, wait_s: float = 0.0) -> Prediction:
        """Get a prediction. A running one is waited for, up to `wait_s` seconds."""
        return self._run(self._calls.get(prediction_id, wait_s))

    def wait(self, prediction_id: str, *, timeout_s: float = 300.0) -> Prediction:
        """Wait for the end of a prediction, and return it.

        Raises ServiceError with the code `timeout` after `timeout_s` seconds.
        """
        return self._run(self._calls.wait(prediction_id, timeout_s))

    def cancel(self, prediction_id: str) -> Prediction:
        """Cancel a queued or running prediction. Raises ServiceError where it has ended."""
        return self._run(self._calls.cancel(prediction_id))

    def predictions(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        since: str | None = None,
        until: str | None = None,
        key: str | None = None,
    ) -> Iterator[Prediction]:
        """Iterate over your predictions, the newest first. Pages are fetched as needed.

        `since` and `until` are times such as `2026-01-31T12:00:00Z`. With an operator's key, `key`
        names another key, or all with `*`.
        """
        query = {"status": status, "model": model, "since": since, "until": until, "key": key}
        return self._pages("/v1/predictions", query)

    def predictions_page(
        self,
        cursor: str | None = None,
        *,
        limit: int = 50,
        status: str | None = None,
        model: str | None = None,
        since: str | None = None,
        until: str | None = None,
        key: str | None = None,
    ) -> Page[Prediction]:
        """Get one page of your predictions: the first one, or that of a page's cursor.

        The filters are those of `predictions`.
        """
        query = {"status": status, "model": model, "since": since, "until": until, "key": key}
        return self._run(self._calls.predictions_page({**query, "cursor": cursor, "limit": limit}))

    def annotated(self, prediction_id: str) -> bytes:
        """Return the annotated image, of a prediction that was submitted with `visualize`.

        The format is JPEG, or the one that `output_format` asked for.
        """
        return self._run(self._calls.annotated(prediction_id))

    def submit_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> Batch:
        """Submit many images in one call."""
        return self._run(self._calls.submit_batch(images, options))

    def batch(self, batch_id: str, *, wait_s: float = 0.0) -> Batch:
        """Get a batch. A running one is waited for, up to `wait_s` seconds."""
        return self._run(self._calls.batch(batch_id, wait_s))

    def wait_batch(self, batch_id: str, *, timeout_s: float = 3600.0) -> Batch:
        """Wait for the end of a batch. Raises ServiceError with the code `timeout`."""
        return self._run(self._calls.wait_batch(batch_id, timeout_s))

    def batch_predictions(self, batch_id: str) -> Iterator[Prediction]:
        """Iterate over a batch's predictions, in the order of its images."""
        return self._pages(f"/v1/batches/{batch_id}/predictions", {})

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel the predictions of a batch that have not ended."""
        return self._run(self._calls.cancel_batch(batch_id))

    def upload(self, image: Image, *, name: str | None = None) -> File:
        """Upload an image, to submit it by its `url` several times."""
        return self._run(self._calls.upload(image, name))

    def files(self) -> list[File]:
        """List your uploaded files, the newest first."""
        return self._run(self._calls.files())

    def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        self._run(self._calls.delete_file(file_id))

    def models(self) -> list[Model]:
        """List the models, ready or not."""
        return self._run(self._calls.models())

    def model(self, name: str) -> Model:
        """Get one model."""
        return self._run(self._calls.model(name))

    def queue(self) -> Queue:
        """Get the load of the service."""
        return self._run(self._calls.queue())

    def timeline(self, minutes: int = 60) -> list[Minute]:
        """Get the load of each of the last minutes, the oldest first. Needs an operator's key."""
        return self._run(self._calls.timeline(minutes))

    def dead_letters(self, cursor: str | None = None, *, limit: int = 50) -> Page[Prediction]:
        """Get one page of the dead letters of all keys. Needs an operator's key."""
        return self._run(self._calls.dead_letters({"cursor": cursor, "limit": limit}))

    def requeue(self, prediction_id: str) -> Prediction:
        """Submit a dead letter's image again, as a new prediction. Needs an operator's key."""
        return self._run(self._calls.requeue(prediction_id))

    def failed_deliveries(self, cursor: str | None = None, *, limit: int = 50) -> Page[Delivery]:
        """Get one page of the deliveries of all keys that failed. Needs an operator's key."""
        return self._run(self._calls.failed_deliveries({"cursor": cursor, "limit": limit}))

    def delivery(self, delivery_id: str) -> Delivery:
        """Get one delivery, with its log in `raw`."""
        return self._run(self._calls.delivery(delivery_id))

    def send_test_event(self, url: str) -> Delivery:
        """Send a signed test event to a webhook. `delivery` then tells its outcome."""
        return self._run(self._calls.send_test_event(url))

    def deliveries(self, prediction_id: str) -> list[Delivery]:
        """List the deliveries of a prediction's webhook events."""
        return self._run(self._calls.deliveries(prediction_id))

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send an event once more, under the same id."""
        return self._run(self._calls.redeliver(delivery_id))

    def webhook_secret(self) -> str:
        """Return the secret that signs your webhooks, for `sluice.client.read_event`."""
        return self._run(self._calls.webhook_secret())

    def close(self) -> None:
        """Close the connections; the `with` statement does it too."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pages(self, path: str, query: dict[str, Any]) -> Iterator[Prediction]:
        more = True
        while more:
            results, query = self._run(self._calls.page(path, query))
            yield from results
            more = bool(query)

    def _run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = call.send(None)
                    continue
                try:
                    response = self._http.request(
                        step.method,
                        step.path,
                        timeout=self._timeout_s + step.wait_s,
                        **step.options,
                    )
                except httpx.TransportError as error:
                    step = call.throw(error)
                else:
                    step = call.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
