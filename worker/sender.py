"""The sender: claims due deliveries, attempts each one and records the outcomes."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx

from sluice import logs
from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    ClaimedDeliveries,
    DeliveryAttempt,
    OutgoingDelivery,
)
from sluice.errors import AddressNotAllowed, InvalidInput, SluiceError, Unavailable
from sluice.ledger.deliveries import Deliveries
from sluice.metrics.deliveries import DeliveryMetrics
from sluice.settings import WebhooksSettings
from sluice.tracing import Tracer
from sluice.webhooks.secrets import Secrets
from sluice.webhooks.signing import SigningKey, delay_s, retry_after_s, signature
from worker.delivery_trace import DeliveryTrace

log = logs.get(__name__)

ANSWER_BYTES = 1024  # of a receiver's answer are kept
_RETRY_S = 0.5  # after the store was unavailable
_GONE = 410


class Answer(NamedTuple):
    """A receiver's answer, or why there is none."""

    status: int | None = None
    """The HTTP status."""
    error: str | None = None
    """A code for programs: why there is no whole answer."""
    text: str = ""
    """The beginning of the body."""
    cooldown_s: float = 0.0
    """How long the receiver asks to be left alone."""


class Sender:
    """Sends deliveries on one event loop.

    The store is called on a thread, one call at a time. The next call takes along all outcomes that
    arrive meanwhile. `http` decides which addresses may be reached. `render` makes an event's body
    from its record. `sender` names this process.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        secrets: Secrets,
        http: httpx.AsyncClient,
        render: Callable[[OutgoingDelivery], bytes],
        settings: WebhooksSettings,
        *,
        sender: str,
        tracer: Tracer | None = None,
        draw: Callable[[float, float], float] = random.uniform,
        metrics: DeliveryMetrics | None = None,
    ) -> None:
        """Raises ValueError for a wrong signing key."""
        self._deliveries = deliveries
        self._secrets = secrets
        self._http = http
        self._render = render
        self._settings = settings
        self._sender = sender
        self._tracer = tracer
        self._draw = draw
        self._metrics = metrics or DeliveryMetrics()
        self._signing_key = (
            SigningKey(settings.signing_key.get_secret_value()) if settings.signing_key else None
        )
        self._running: dict[asyncio.Task[AttemptOutcome], OutgoingDelivery] = {}
        self._ended: list[AttemptOutcome] = []
        #: Set by the caller when a delivery is due.
        self.wake = asyncio.Event()

    @property
    def running(self) -> int:
        """The number of attempts under way."""
        return len(self._running)

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping` is set.

        Then running attempts have `grace_s` to end. The deliveries of the others wait again.
        """
        sweeping = asyncio.create_task(self._sweep())
        try:
            while not stopping.is_set():
                wait_s = await self._turn(
                    self._settings.concurrency - len(self._running) - len(self._ended)
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self.wake.wait()
                self.wake.clear()
        finally:
            sweeping.cancel()
        await self._finish()

    async def _turn(self, free: int) -> float:
        """Record the outcomes and start the due attempts.

        Returns the seconds until the next turn.
        """
        _touch(self._settings.alive_file)
        try:
            claimed = await asyncio.to_thread(self._exchange, free)
        except Unavailable as error:
            log.warning("sender_waits", "the sender waits for Redis", error=error)
            return _RETRY_S
        except Exception:
            log.exception("sender_failed", "unexpected error in the sender's turn")
            return _RETRY_S
        for outgoing in claimed.outgoing:
            task = asyncio.create_task(self._attempt(outgoing))
            self._running[task] = outgoing
            task.add_done_callback(self._on_done)
        return (
            self._settings.poll_s
            if claimed.wait_s is None
            else min(claimed.wait_s, self._settings.poll_s)
        )

    def _exchange(self, free: int) -> ClaimedDeliveries:
        """Record the outcomes, and claim up to `free` deliveries. Raises Unavailable."""
        ended = self._ended[:]
        if ended:
            for outcome, recorded in zip(ended, self._deliveries.settle(ended), strict=True):
                if not recorded:
                    log.warning(
                        "delivery_lost",
                        "a delivery went to another sender, and may arrive twice",
                        **outcome.outgoing.delivery.log_fields,
                    )
            del self._ended[: len(ended)]
        return (
            self._deliveries.claim(f"{self._sender}/{uuid.uuid4().hex}", free)
            if free > 0
            else ClaimedDeliveries((), None)
        )

    def _on_done(self, task: asyncio.Task[AttemptOutcome]) -> None:
        outgoing = self._running.pop(task)
        outcome = (
            AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)
            if task.cancelled()
            else task.result()
        )
        self._metrics.ended(outcome)
        self._ended.append(outcome)
        self.wake.set()

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace_s)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.sleep(0)  # lets the last callbacks run
        try:
            await asyncio.to_thread(self._exchange, 0)
        except Unavailable as error:
            log.warning(
                "outcomes_not_recorded",
                "the last outcomes are not recorded, and their leases will lapse",
                error=error,
            )

    async def _attempt(self, outgoing: OutgoingDelivery) -> AttemptOutcome:
        """Make one attempt. Raises only CancelledError."""
        trace = DeliveryTrace(self._tracer, outgoing.delivery)
        with logs.about(**outgoing.delivery.log_fields):
            outcome = await self._attempt_logged(outgoing, trace.headers)
        trace.end(outcome)
        return outcome

    async def _attempt_logged(
        self, outgoing: OutgoingDelivery, trace_headers: Mapping[str, str]
    ) -> AttemptOutcome:
        started, body = time.monotonic(), outgoing.body or b""
        try:
            body = outgoing.body or self._render(outgoing)
            answer = await self._post(outgoing, body, trace_headers)
        except Unavailable as error:
            log.warning(
                "delivery_without_secret",
                "the secret of a delivery can't be read; the delivery waits",
                error=error,
            )
            return AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)
        except Exception:
            log.exception(
                "delivery_broke",
                "unexpected error while sending a delivery",
            )
            answer = Answer(error="internal")
        attempt = DeliveryAttempt(
            at=outgoing.at,
            duration_s=round(time.monotonic() - started, 6),
            status=answer.status,
            error=answer.error,
            answer=answer.text,
        )
        return self._outcome(outgoing, attempt, body, answer.cooldown_s)

    def _outcome(
        self, outgoing: OutgoingDelivery, attempt: DeliveryAttempt, body: bytes, cooldown_s: float
    ) -> AttemptOutcome:
        delivery, status = outgoing.delivery, attempt.status
        if attempt.error is None and status is not None and 200 <= status < 300:
            log.info(
                "delivery_arrived",
                "a webhook arrived",
                status=status,
                seconds=attempt.duration_s,
            )
            return AttemptOutcome(outgoing, AttemptResult.DELIVERED, attempt)
        if status == _GONE:
            log.warning(
                "delivery_stopped",
                "a receiver answered 410, and its URL gets no more events",
            )
            return AttemptOutcome(outgoing, AttemptResult.GONE, attempt, body)
        wait_s = delay_s(
            # A person waits for the outcome of a test event: no attempt follows.
            () if delivery.event == "test" else self._settings.schedule_s,
            delivery.failures + 1,
            self._settings.jitter,
            self._draw,
        )
        if wait_s is not None:
            wait_s = max(wait_s, cooldown_s)
        if wait_s is None:
            log.error(
                "delivery_dead",
                "a receiver failed until the last attempt",
                status=status,
                code=attempt.error,
            )
        else:
            log.warning(
                "delivery_failed",
                "a webhook failed and is sent again",
                status=status,
                code=attempt.error,
                delay_s=wait_s,
            )
        return AttemptOutcome(outgoing, AttemptResult.FAILED, attempt, body, wait_s, cooldown_s)

    async def _post(
        self, outgoing: OutgoingDelivery, body: bytes, trace_headers: Mapping[str, str]
    ) -> Answer:
        """Send one request. Raises Unavailable where there is no secret and none can be made."""
        delivery = outgoing.delivery
        headers = {**trace_headers, **await self._headers(outgoing, body)}
        status = None
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                self._http.stream(
                    "POST", delivery.url, content=body, headers=headers, follow_redirects=False
                ) as response,
            ):
                status = response.status_code
                cooldown_s = 0.0
                if not response.is_success:
                    cooldown_s = min(
                        retry_after_s(response.headers.get("retry-after"), outgoing.at),
                        self._settings.max_retry_after_s,
                    )
                return Answer(status, text=await _read_prefix(response), cooldown_s=cooldown_s)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(status, "timeout")
        except (httpx.ConnectError, AddressNotAllowed, InvalidInput, httpx.HTTPError) as error:
            return Answer(status, _error_code(error))

    async def _headers(self, outgoing: OutgoingDelivery, body: bytes) -> dict[str, str]:
        delivery = outgoing.delivery
        secrets = outgoing.secrets or await asyncio.to_thread(self._secrets.for_key, delivery.key)
        stamp = int(outgoing.at)
        return {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "Sluice",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature(delivery.id, stamp, body, secrets, self._signing_key),
        }

    async def _sweep(self) -> None:
        while True:
            try:
                swept = await asyncio.to_thread(self._deliveries.sweep)
                for delivery_id in swept.lost:
                    log.warning(
                        "sender_lost",
                        "a delivery is due again, since its sender was lost",
                        delivery=delivery_id,
                    )
                for delivery_id in swept.given_up:
                    log.error(
                        "delivery_given_up", "a receiver failed for too long", delivery=delivery_id
                    )
                self._metrics.swept(lost=len(swept.lost), given_up=len(swept.given_up))
                if swept.lost:
                    self.wake.set()
            except SluiceError as error:
                log.warning(
                    "delivery_sweep_skipped", "a sweep of deliveries is skipped", error=error
                )
            except Exception:
                log.exception("delivery_sweep_failed", "unexpected error in a sweep of deliveries")
            await asyncio.sleep(self._settings.sweep_interval_s * random.uniform(0.8, 1.0))


def _error_code(error: Exception) -> str:
    """Return a code, never a library's message.

    The message may contain an address inside the network, or a URL's query.
    """
    if isinstance(error, SluiceError):
        return error.code
    return "connect_failed" if isinstance(error, httpx.ConnectError) else "connection_broken"


async def _read_prefix(response: httpx.Response) -> str:
    """Return the first kilobyte of the body as text.

    A body that is not longer leaves the connection usable.
    """
    data = b""
    async for chunk in response.aiter_raw():
        data += chunk[: ANSWER_BYTES - len(data) + 1]
        if len(data) > ANSWER_BYTES:
            break
    return data[:ANSWER_BYTES].decode(errors="replace")


def _touch(path: Path | None) -> None:
    if path:
        path.touch()
