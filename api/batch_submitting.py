"""Accepting a batch: one image after another, each with a prediction or an error of its own."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from api.requests.items import BatchUpload, Item
from api.requests.receive import too_large
from api.submitting import Submitting
from sluice.access.keys import Caller
from sluice.batch import Batch, BatchSubmission, ItemError
from sluice.errors import QueueFull, SluiceError, Unavailable
from sluice.ledger.batches import Batches
from sluice.ledger.events import Events
from sluice.prediction import PER_REQUEST, Submission

_SHARED_FIELDS = {
    *("model", "key", "priority", "metadata", "webhook", "webhook_events", "base_url"),
    *("traceparent", "tracestate"),
}


@dataclass(frozen=True, kw_only=True)
class BatchSubmitting:
    """Puts batches and their predictions on record."""

    submitting: Submitting
    batches: Batches
    events: Events
    slots: anyio.CapacityLimiter
    """One for each batch that is being accepted."""

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot. Raises QueueFull."""
        try:
            self.slots.acquire_nowait()
        except anyio.WouldBlock:
            raise QueueFull(
                "the service is accepting as many batches as it may; try again later"
            ) from None
        try:
            yield
        finally:
            self.slots.release()

    async def submit(
        self,
        batch_id: str,
        upload: BatchUpload,
        caller: Caller,
        base_url: str,
        *,
        start_within_s: float | None,
        idempotent: bool,
    ) -> Batch:
        """Accept the images of a batch. An image that is refused becomes an error of the batch.

        `idempotent` says that the same call may come again with the same id.
        Raises InvalidInput or a subclass, IdReused, Gone. Raises an Unavailable where it kept every
        image out.
        """
        submission = await self.submitting.build_submission(
            caller, upload.options, upload.parameters, base_url, start_within_s=start_within_s
        )
        digest = ""
        if idempotent:
            digest = await anyio.to_thread.run_sync(_digest, submission, upload.items)
        shared = submission.model_dump(include=_SHARED_FIELDS)
        batch = await anyio.to_thread.run_sync(
            self.batches.open,
            batch_id,
            BatchSubmission(total=len(upload.items), **shared),
            digest,
        )
        if batch.completed_at is not None:
            return batch
        errors = await self._accept_items(batch, upload.items, submission, caller, base_url)
        return await anyio.to_thread.run_sync(self.batches.seal, batch_id, errors)

    async def _accept_items(
        self,
        batch: Batch,
        items: Sequence[Item],
        submission: Submission,
        caller: Caller,
        base_url: str,
    ) -> list[ItemError]:
        """Accept each image; the errors. Raises an Unavailable where it kept every image out."""
        template = submission.model_copy(
            update={"batch": batch.id, "webhook": None, "webhook_events": (), "base_url": ""}
        )
        errors: list[ItemError] = []
        refusal: Unavailable | None = None
        for index, item in enumerate(items):
            metadata = {"batch": batch.id, "index": index, "name": item.name}
            error = refusal or await self._accept_item(
                item,
                template.model_copy(update={"metadata": metadata}),
                caller,
                batch.item(index),
                base_url,
            )
            if isinstance(error, Unavailable):
                refusal = error  # the same would refuse the other images
            if error:
                self.submitting.metrics.refused(error.code)
                errors.append(
                    ItemError(index=index, name=item.name, code=error.code, detail=error.message)
                )
        if refusal and len(errors) == batch.total:
            raise refusal  # the sweep removes the empty batch
        return errors

    async def _accept_item(
        self,
        item: Item,
        submission: Submission,
        caller: Caller,
        prediction_id: str,
        base_url: str,
    ) -> SluiceError | None:
        """The error that refused the image, or None where it was accepted."""
        max_bytes = self.submitting.limits.max_bytes
        try:
            if self.events.closing:
                raise Unavailable("this process of the service is stopping; send the image again")
            image = await self.submitting.resolve_file_url(
                await anyio.to_thread.run_sync(item.read), caller, base_url
            )
            if isinstance(image, bytes) and len(image) > max_bytes:
                raise too_large(max_bytes)
            await self.submitting.accept(image, submission, caller, prediction_id)
        except SluiceError as error:
            return error
        return None


def _digest(submission: Submission, items: Sequence[Item]) -> str:
    """SHA-256 of everything that makes a batch, in hex.

    An image that can't be read counts by its error.
    """
    shared = submission.model_copy(update={"ticket": ""})  # a digest of versions before has it
    digest = hashlib.sha256(shared.model_dump_json(exclude=PER_REQUEST - {"ticket"}).encode())
    for item in items:
        try:
            content = item.read()
        except SluiceError as error:
            content = error.message
        digest.update(
            hashlib.sha256(content if isinstance(content, bytes) else content.encode()).digest()
        )
    return digest.hexdigest()
