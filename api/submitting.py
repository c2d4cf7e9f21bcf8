"""Accepting images: the use case behind POST, PUT, POST to a model, and batches."""

import re
import secrets
from dataclasses import dataclass

import anyio.to_thread

from api.catalog import Catalog
from api.requests.model_name import ModelName, chosen
from api.requests.schemas import Options, Upload
from api.traffic.arrivals import Arrivals
from api.traffic.bulkhead import Bulkhead
from api.traffic.load import QueueLoadCache
from sluice import tracing
from sluice.access.keys import Caller
from sluice.blobs.files import Files
from sluice.errors import InvalidInput, NotFound
from sluice.images import inspect
from sluice.intake.fast import FastIntake
from sluice.intake.intake import Intake
from sluice.ledger.predictions import Ledger
from sluice.metrics.http import HttpMetrics
from sluice.outbound.guard import Guard
from sluice.prediction import Parameters, Prediction, Submission
from sluice.settings import LimitsSettings
from sluice.slicing import check_tiles

_EVENT_LOOP_BYTES = 1_000_000
#: The URL of an uploaded file, which answers with its record and never with its bytes.
_FILE_URL = re.compile(r"https?://[^/?#]+(?:/[^?#]*)?/v1/files/([a-z2-7]{26})/?(?:[?#].*)?", re.I)


@dataclass(frozen=True, kw_only=True)
class Submitting:
    """Builds submissions and puts them on record."""

    ledger: Ledger
    intake: Intake
    fast_intake: FastIntake | None
    """Accepts on the event loop; None where the images' store can't."""
    arrivals: Arrivals
    files: Files
    guard: Guard
    catalog: Catalog
    queue_load: QueueLoadCache
    bulkhead: Bulkhead
    """For submissions that block."""
    limits: LimitsSettings
    default_model: str
    id_prefix: str
    """Begins each id that the service makes."""
    with_tickets: bool
    """True where keys are on: each prediction then gets a ticket, which opens its stream."""
    metrics: HttpMetrics

    async def check_capacity(self, caller: Caller, declared_bytes: int) -> None:
        """Refuse a submission before its body is read. Raises QueueFull, RedisUnavailable."""
        await anyio.to_thread.run_sync(
            self.ledger.check_capacity, declared_bytes, caller.name, caller.max_backlog
        )

    async def submit(
        self,
        upload: Upload,
        caller: Caller,
        base_url: str,
        *,
        prediction_id: str | None,
        model: str | None,
        start_within_s: float | None,
    ) -> Prediction:
        """Accept one image. `prediction_id` and `model` are the caller's choice, or None.

        Raises the errors of `resolve_file_url`, `build_submission` and `accept`.
        """
        image = await self.resolve_file_url(upload.image, caller, base_url)
        submission = await self.build_submission(
            caller,
            upload.options,
            upload.parameters,
            base_url,
            model=model,
            start_within_s=start_within_s,
        )
        return await self.accept(image, submission, caller, prediction_id)

    async def resolve_file_url(
        self, image: bytes | str, caller: Caller, base_url: str
    ) -> bytes | str:
        """The bytes of an uploaded file where `image` is its URL, else `image`.

        The id tells the file, so the host of the URL may be any name of the service.
        Raises InvalidInput where the caller has no such file.
        """
        if not isinstance(image, str):
            return image
        match = _FILE_URL.fullmatch(image)
        prefix = f"{base_url}/v1/files/"
        if not match and not image.startswith(prefix):
            return image
        file_id = match[1] if match else image.removeprefix(prefix)
        try:
            return await anyio.to_thread.run_sync(self.files.read, file_id, caller.name)
        except NotFound as error:
            raise InvalidInput(
                f"input.image: {error.message}; a file is known to the service and the API key"
                " that it was uploaded with"
            ) from None

    async def build_submission(
        self,
        caller: Caller,
        options: Options,
        parameters: Parameters,
        base_url: str,
        *,
        model: str | None = None,
        start_within_s: float | None = None,
    ) -> Submission:
        """The submission without its image. Raises InvalidInput or a subclass."""
        if options.webhook:
            self.guard.check_url(options.webhook)
        context = tracing.current_context()
        named = chosen(model, options.model, version=options.version)
        named = named or ModelName(self.default_model)
        await self.catalog.check(named.name, parameters, named.version)
        return Submission(
            model=named.name,
            parameters=parameters,
            key=caller.name,
            priority=options.priority,
            metadata=options.metadata,
            start_within_s=start_within_s,
            webhook=options.webhook,
            webhook_events=options.webhook_events_filter or (),
            base_url=base_url if options.webhook else "",
            # Replicate's client in JavaScript sends no key to the URL of a stream.
            ticket=secrets.token_urlsafe(16) if self.with_tickets else "",
            traceparent=context.traceparent if context else "",
            tracestate=context.state if context else "",
        )

    async def accept(
        self,
        image: bytes | str,
        submission: Submission,
        caller: Caller,
        prediction_id: str | None,
    ) -> Prediction:
        """Check the image or its URL, and put the submission on record.

        Raises InvalidInput and the errors of `Intake.accept_named`.
        """
        prediction = await self._accept(image, submission, caller, prediction_id)
        self.queue_load.accepted()
        self.metrics.accepted(submission.model, submission.priority)
        return prediction

    async def _accept(
        self,
        image: bytes | str,
        submission: Submission,
        caller: Caller,
        prediction_id: str | None,
    ) -> Prediction:
        if isinstance(image, str):
            self.guard.check_url(image)
            submission = submission.model_copy(update={"image_url": image})
        elif (
            self.fast_intake
            and prediction_id is None
            and _is_inspected_quickly(image)
            and not await self.queue_load.is_nearly_full()
        ):
            self._check_image(image, submission)
            return await self.fast_intake.accept_new(
                image, submission, max_backlog=caller.max_backlog
            )
        return await self.bulkhead.run(
            self._accept_blocking, image, submission, caller, prediction_id
        )

    def _accept_blocking(
        self,
        image: bytes | str,
        submission: Submission,
        caller: Caller,
        prediction_id: str | None,
    ) -> Prediction:
        """All that blocks, on one thread: each thread hop costs as much as an inspection."""
        if isinstance(image, str):
            image = b""
        else:
            self._check_image(image, submission)
        if prediction_id is None:
            return self.intake.accept_new(image, submission, max_backlog=caller.max_backlog)
        return self.intake.accept_named(
            prediction_id, image, submission, max_backlog=caller.max_backlog
        )

    def _check_image(self, image: bytes, submission: Submission) -> None:
        """Raises NotAnImage, TruncatedImage, ImageTooLarge or TooManyTiles."""
        header = inspect(image, self.limits.max_pixels)
        if slicing := submission.parameters.slice:
            imgsz = self.catalog.imgsz(submission.model)
            check_tiles(slicing, header.upright_hw, imgsz, self.limits.max_tiles)


def _is_inspected_quickly(image: bytes) -> bool:
    """True if the inspection takes less time than a thread hop."""
    return image.startswith(b"\xff\xd8\xff") and len(image) <= _EVENT_LOOP_BYTES
