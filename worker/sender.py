"""The sender: claims deliveries that are due, makes an attempt at each, and records how it went. Knows nothing of predictions."""

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx

from sluice.delivery import (
    AttemptOutcome,
    AttemptResult,
    ClaimedDeliveries,
    DeliveryAttempt,
    OutgoingDelivery,
)
from sluice.errors import AddressNotAllowed, InvalidInput, SluiceError, Unavailable
from sluice.ledger.deliveries import Deliveries
from sluice.settings import WebhooksSettings
from sluice.webhooks.secrets import Secrets
from sluice.webhooks.signing import SigningKey, delay_s, retry_after_s, signature

log = logging.getLogger(__name__)

ANSWER_BYTES = 1024
_AGAIN_S = 0.5  # after the store was away
_GONE = 410


class Answer(NamedTuple):
    """What a receiver said, or why it said nothing."""

    status: int | None = None
    error: str | None = None
    text: str = ""
    cooldown_s: float = 0.0


class Sender:
    """On asyncio; the store is called in a thread, one call at a time, so that what happens meanwhile goes with the next one.

    `http` decides which addresses may be reached. `render` makes an event's body from its record. `sender` names this process.
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
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Raises ValueError where the signing key is wrong."""
        self._deliveries = deliveries
        self._secrets = secrets
        self._http = http
        self._render = render
        self._settings = settings
        self._sender = sender
        self._draw = draw
        self._signing_key = (
            SigningKey(settings.signing_key.get_secret_value()) if settings.signing_key else None
        )
        self._running: dict[asyncio.Task[AttemptOutcome], OutgoingDelivery] = {}
        self._ended: list[AttemptOutcome] = []
        self.wake = asyncio.Event()  # whoever knows that something is due may set it

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping`; then attempts that run have `grace_s` to end, and the others are given back."""
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
        """Record what has ended, and begin what is due. Returns after how many seconds to look again."""
        _touch(self._settings.alive_file)
        try:
            claimed = await asyncio.to_thread(self._exchange, free)
        except Unavailable as error:
            log.warning("the sender waits: %s", error)
            return _AGAIN_S
        except Exception:
            log.exception("the sender's turn failed; the next one comes")
            return _AGAIN_S
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
        ended = self._ended[:]
        if ended:
            for outcome, done in zip(ended, self._deliveries.settle(ended), strict=True):
                if not done:
                    log.warning(
                        "delivery %s was lost to another sender; it may arrive twice",
                        outcome.outgoing.delivery.id,
                    )
            del self._ended[: len(ended)]
        return (
            self._deliveries.claim(f"{self._sender}/{uuid.uuid4().hex}", free)
            if free > 0
            else ClaimedDeliveries((), None)
        )

    def _on_done(self, task: asyncio.Task[AttemptOutcome]) -> None:
        outgoing = self._running.pop(task)
        self._ended.append(
            AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)
            if task.cancelled()
            else task.result()
        )
        self.wake.set()

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace_s)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.sleep(0)  # so that the last callbacks have run
        try:
            await asyncio.to_thread(self._exchange, 0)
        except Unavailable as error:
            log.warning("what was being sent waits for its lease to lapse: %s", error)

    async def _attempt(self, outgoing: OutgoingDelivery) -> AttemptOutcome:
        """Never raises, but when it is canceled."""
        started, body = time.monotonic(), outgoing.body or b""
        try:
            body = outgoing.body or self._render(outgoing)
            answer = await self._post(outgoing, body)
        except Unavailable as error:
            log.warning("delivery %s has no secret: %s", outgoing.delivery.id, error)
            return AttemptOutcome(outgoing, AttemptResult.NOT_ATTEMPTED)
        except Exception:
            log.exception("delivery %s failed by a fault of ours", outgoing.delivery.id)
            answer = Answer(error="internal")
        took_s = round(time.monotonic() - started, 6)
        said = DeliveryAttempt(
            at=outgoing.at,
            duration_s=took_s,
            status=answer.status,
            error=answer.error,
            answer=answer.text,
        )
        return self._outcome(outgoing, said, body, answer.cooldown_s)

    def _outcome(
        self, outgoing: OutgoingDelivery, said: DeliveryAttempt, body: bytes, cooldown_s: float
    ) -> AttemptOutcome:
        delivery = outgoing.delivery
        if said.error is None and said.status is not None and 200 <= said.status < 300:
            log.info("delivery %s arrived in %.3f s", delivery.id, said.duration_s)
            return AttemptOutcome(outgoing, AttemptResult.DELIVERED, said)
        if said.status == _GONE:
            log.warning("delivery %s was answered 410: its URL is sent nothing more", delivery.id)
            return AttemptOutcome(outgoing, AttemptResult.GONE, said, body)
        wait_s = delay_s(
            self._settings.schedule_s, delivery.failures + 1, self._settings.jitter, self._draw
        )
        if wait_s is not None:
            wait_s = max(wait_s, cooldown_s)
        then = "it is dead" if wait_s is None else f"again in {wait_s:.1f} s"
        log.warning("delivery %s failed (%s): %s", delivery.id, said.error or said.status, then)
        return AttemptOutcome(outgoing, AttemptResult.FAILED, said, body, wait_s, cooldown_s)

    async def _post(self, outgoing: OutgoingDelivery, body: bytes) -> Answer:
        """Raises Unavailable where there is no secret yet and none can be made."""
        delivery = outgoing.delivery
        secrets = outgoing.secrets or await asyncio.to_thread(self._secrets.for_key, delivery.key)
        stamp = int(outgoing.at)
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "Sluice",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature(delivery.id, stamp, body, secrets, self._signing_key),
        }
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

    async def _sweep(self) -> None:
        while True:
            try:
                swept = await asyncio.to_thread(self._deliveries.sweep)
                for name in swept.lost:
                    log.warning("delivery %s is due again: its sender was lost", name)
                for name in swept.given_up:
                    log.error("delivery %s is dead: its receiver failed for too long", name)
                if swept.lost:
                    self.wake.set()
            except SluiceError as error:
                log.warning("a sweep is skipped: %s", error)
            except Exception:
                log.exception("a sweep failed; the next one comes")
            await asyncio.sleep(self._settings.sweep_interval_s * random.uniform(0.8, 1.0))


def _error_code(error: Exception) -> str:
    """No message of a library's, which may hold an address inside the network or a URL's query."""
    if isinstance(error, SluiceError):
        return error.code
    return "connect_failed" if isinstance(error, httpx.ConnectError) else "connection_broken"


async def _read_prefix(response: httpx.Response) -> str:
    """The first kilobyte of the body as text; where that is all of it, the connection can be used again."""
    data = b""
    async for chunk in response.aiter_raw():
        data += chunk[: ANSWER_BYTES - len(data) + 1]
        if len(data) > ANSWER_BYTES:
            break
    return data[:ANSWER_BYTES].decode(errors="replace")


def _touch(path: Path | None) -> None:
    if path:
        path.touch()
