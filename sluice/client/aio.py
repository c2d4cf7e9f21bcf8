"""The client of the HTTP interface, for programs with an event loop (asyncio)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
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


class AsyncClient:
    """The same as `Client`, with methods to await. Files are read on the event loop."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        retry_for_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(retry_for_s)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            transport=transport,
        )

    async def submit(self, image: Image, **options: Unpack[Options]) -> Prediction:
        """Submit an image, and return the prediction as it starts."""
        return await self._run(self._calls.submit(image, options))

    async def run(
        self, image: Image, *, timeout_s: float = 300.0, **options: Unpack[Options]
    ) -> Prediction:
        """Submit an image, and return the prediction when it has ended, well or not."""
        return await self._run(self._calls.run(image, options, timeout_s))

    async def run_many(
        self,
        images: Iterable[Image],
        *,
        concurrency: int = 8,
        timeout_s: float = 300.0,
        **options: Unpack[Options],
    ) -> AsyncIterator[Prediction | ServiceError]:
        """Run many images, `concurrency` at a time, and yield the results in their order."""

        async def run(image: Image) -> Prediction | ServiceError:
            try:
                return await self.run(image, timeout_s=timeout_s, **options)
            except ServiceError as error:
                return error

        running: deque[asyncio.Task[Prediction | ServiceError]] = deque()
        try:
            for image in images:
                running.append(asyncio.create_task(run(image)))
                if len(running) >= concurrency:
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def get(self, prediction_id: str, *, wait_s: float = 0.0) -> Prediction:
        """Get a prediction. A running one is waited for, up to `wait_s` seconds."""
        return await self._run(self._calls.get(prediction_id, wait_s))

    async def wait(self, prediction_id: str, *, timeout_s: float = 300.0) -> Prediction:
        """Wait for the end of a prediction, and return it."""
        return await self._run(self._calls.wait(prediction_id, timeout_s))

    async def cancel(self, prediction_id: str) -> Prediction:
        """Cancel a queued or running prediction. Raises ServiceError where it has ended."""
        return await self._run(self._calls.cancel(prediction_id))

    def predictions(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        since: str | None = None,
        until: str | None = None,
        key: str | None = None,
    ) -> AsyncIterator[Prediction]:
        """Iterate over your predictions, the newest first. Pages are fetched as needed.

        `since` and `until` are times such as `2026-01-31T12:00:00Z`. With an operator's key, `key`
        names another key, or all with `*`.
        """
        query = {"status": status, "model": model, "since": since, "until": until, "key": key}
        return self._pages("/v1/predictions", query)

    async def predictions_page(
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
        return await self._run(
            self._calls.predictions_page({**query, "cursor": cursor, "limit": limit})
        )

    async def annotated(self, prediction_id: str) -> bytes:
        """Return the annotated image, of a prediction that was submitted with `visualize`."""
        return await self._run(self._calls.annotated(prediction_id))

    async def submit_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> Batch:
        """Submit many images in one call."""
        return await self._run(self._calls.submit_batch(images, options))

    async def batch(self, batch_id: str, *, wait_s: float = 0.0) -> Batch:
        """Get a batch. A running one is waited for, up to `wait_s` seconds."""
        return await self._run(self._calls.batch(batch_id, wait_s))

    async def wait_batch(self, batch_id: str, *, timeout_s: float = 3600.0) -> Batch:
        """Wait for the end of a batch. Raises ServiceError with the code `timeout`."""
        return await self._run(self._calls.wait_batch(batch_id, timeout_s))

    def batch_predictions(self, batch_id: str) -> AsyncIterator[Prediction]:
        """Iterate over a batch's predictions, in the order of its images."""
        return self._pages(f"/v1/batches/{batch_id}/predictions", {})

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel the predictions of a batch that have not ended."""
        return await self._run(self._calls.cancel_batch(batch_id))

    async def upload(self, image: Image, *, name: str | None = None) -> File:
        """Upload an image, to submit it by its `url` several times."""
        return await self._run(self._calls.upload(image, name))

    async def files(self) -> list[File]:
        """List your uploaded files, the newest first."""
        return await self._run(self._calls.files())

    async def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file."""
        await self._run(self._calls.delete_file(file_id))

    async def models(self) -> list[Model]:
        """List the models, ready or not."""
        return await self._run(self._calls.models())

    async def model(self, name: str) -> Model:
        """Get one model."""
        return await self._run(self._calls.model(name))

    async def queue(self) -> Queue:
        """Get the load of the service."""
        return await self._run(self._calls.queue())

    async def timeline(self, minutes: int = 60) -> list[Minute]:
        """Get the load of each of the last minutes, the oldest first. Needs an operator's key."""
        return await self._run(self._calls.timeline(minutes))

    async def dead_letters(self, cursor: str | None = None, *, limit: int = 50) -> Page[Prediction]:
        """Get one page of the dead letters of all keys. Needs an operator's key."""
        return await self._run(self._calls.dead_letters({"cursor": cursor, "limit": limit}))

    async def requeue(self, prediction_id: str) -> Prediction:
        """Submit a dead letter's image again, as a new prediction. Needs an operator's key."""
        return await self._run(self._calls.requeue(prediction_id))

    async def failed_deliveries(
        self, cursor: str | None = None, *, limit: int = 50
    ) -> Page[Delivery]:
        """Get one page of the deliveries of all keys that failed. Needs an operator's key."""
        return await self._run(self._calls.failed_deliveries({"cursor": cursor, "limit": limit}))

    async def delivery(self, delivery_id: str) -> Delivery:
        """Get one delivery, with its log in `raw`."""
        return await self._run(self._calls.delivery(delivery_id))

    async def send_test_event(self, url: str) -> Delivery:
        """Send a signed test event to a webhook. `delivery` then tells its outcome."""
        return await self._run(self._calls.send_test_event(url))

    async def deliveries(self, prediction_id: str) -> list[Delivery]:
        """List the deliveries of a prediction's webhook events."""
        return await self._run(self._calls.deliveries(prediction_id))

    async def redeliver(self, delivery_id: str) -> Delivery:
        """Send an event once more, under the same id."""
        return await self._run(self._calls.redeliver(delivery_id))

    async def webhook_secret(self) -> str:
        """Return the secret that signs your webhooks, for `sluice.client.read_event`."""
        return await self._run(self._calls.webhook_secret())

    async def close(self) -> None:
        """Close the connections; the `async with` statement does it too."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _pages(self, path: str, query: dict[str, Any]) -> AsyncIterator[Prediction]:
        more = True
        while more:
            results, query = await self._run(self._calls.page(path, query))
            for prediction in results:
                yield prediction
            more = bool(query)

    async def _run(self, call: Call[T]) -> T:
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = call.send(None)
                    continue
                try:
                    response = await self._http.request(
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
