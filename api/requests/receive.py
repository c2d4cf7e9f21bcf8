"""Reading a body within its bounds: its size, the time between its parts, and the time in all."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import anyio.to_thread
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.requests.headers import declared_bytes
from sluice.content_coding import ACCEPTED, Unpacker, compressions
from sluice.errors import ImageTooLarge, InvalidInput, UploadTooSlow
from sluice.settings import LimitsSettings

#: The time for which a refused body is still read, so that its sender gets to read the answer.
_DRAIN_S = 10.0
_PART_CHUNKS = 16
_DRAINED_BYTES = 1_000_000


async def read_body(
    request: Request, limits: LimitsSettings, max_bytes: int, what: str = "image"
) -> bytes:
    """The whole body. Raises the errors of `receive`."""
    parts = receive(request, limits, max_bytes, what)
    return b"".join([chunk async for part in parts for chunk in part])


def receive(
    request: Request, limits: LimitsSettings, max_bytes: int, what: str
) -> AsyncGenerator[list[bytes], None]:
    """The body in parts, each a list of chunks. `what` names the body in errors.

    A body in gzip or deflate is unpacked; `max_bytes` bounds it before and after.
    No timeout runs while the caller handles a part.
    Raises ImageTooLarge beyond `max_bytes`, by the declared length where there is one;
    UploadTooSlow; ClientDisconnect; HTTPException 415 for another content coding.
    While the body is read: InvalidInput for compressed data that is damaged.
    """
    parts = _as_sent(request, limits, max_bytes, what)
    header = request.headers.get("content-encoding")
    codings = compressions(header) if header else []
    if not codings:
        return parts
    try:
        (coding,) = codings
        unpacker = Unpacker(coding)
    except ValueError:
        raise HTTPException(
            415,
            f"content encoding {header!r}: send the body as it is, or in one of {ACCEPTED}",
            {"Accept-Encoding": ACCEPTED},
        ) from None
    return _unpacked(parts, unpacker, max_bytes, what)


async def _unpacked(
    parts: AsyncGenerator[list[bytes], None], unpacker: Unpacker, max_bytes: int, what: str
) -> AsyncGenerator[list[bytes], None]:
    size = 0
    try:
        async for part in parts:
            pieces = unpacker.write(b"".join(part))
            while piece := await anyio.to_thread.run_sync(next, pieces, b""):
                size += len(piece)
                if size > max_bytes:
                    await _drop(parts)
                    raise too_large(max_bytes, f"unpacked {what}")
                yield [piece]
        unpacker.close()
    except ValueError as error:
        await _drop(parts)
        raise InvalidInput(f"the body can't be unpacked: {error}") from None


async def _drop(parts: AsyncGenerator[list[bytes], None]) -> None:
    """Read the rest, so that its sender gets to read the answer."""
    with contextlib.suppress(ImageTooLarge, UploadTooSlow):
        async for _ in parts:
            pass


async def _as_sent(
    request: Request, limits: LimitsSettings, max_bytes: int, what: str
) -> AsyncGenerator[list[bytes], None]:
    incoming = _Incoming(request, limits)
    if (declared_bytes(request) or 0) > max_bytes:
        if "expect" not in request.headers:  # with it, the client waits before it sends the body
            await incoming.drain()
        raise too_large(max_bytes, what)
    size = 0
    while incoming.more:
        part = await incoming.read_part(max_bytes - size)
        size += sum(map(len, part))
        if size > max_bytes:
            await incoming.drain()
            raise too_large(max_bytes, what)
        yield part


class _Incoming:
    """A body on its way."""

    def __init__(self, request: Request, limits: LimitsSettings) -> None:
        self._receive = request.receive
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + limits.upload_s
        self.more = True

    async def read_part(self, max_bytes: int) -> list[bytes]:
        """The next chunks. A part ends early where it exceeds `max_bytes`.

        One timeout serves a whole part and moves each tenth of the idle limit: a timeout for each
        chunk would cost more than a small chunk. Raises UploadTooSlow, ClientDisconnect.
        """
        idle_s = self._limits.upload_idle_s
        chunks: list[bytes] = []
        size, moved_at = 0, self._clock()
        try:
            if moved_at > self._until:  # a timeout does not fire while chunks arrive without a wait
                raise TimeoutError
            async with asyncio.timeout_at(min(self._until, moved_at + idle_s)) as timeout:
                while self.more and len(chunks) < _PART_CHUNKS and size <= max_bytes:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    self.more = message.get("more_body", False)
                    if chunk := message.get("body", b""):
                        chunks.append(chunk)
                        size += len(chunk)
                    now = self._clock()
                    if now - moved_at > idle_s / 10:
                        moved_at = now
                        timeout.reschedule(min(self._until, now + idle_s))
        except TimeoutError:
            raise UploadTooSlow(
                f"the body did not arrive in time: no data came for {idle_s:g} s,"
                f" or the upload took more than {self._limits.upload_s:g} s"
            ) from None
        return chunks

    async def drain(self) -> None:
        """Read and drop the rest, for a limited time. Raises ClientDisconnect."""
        self._until = self._clock() + _DRAIN_S
        with contextlib.suppress(UploadTooSlow):
            while self.more:
                await self.read_part(_DRAINED_BYTES)


def too_large(max_bytes: int, what: str = "image") -> ImageTooLarge:
    return ImageTooLarge(f"the {what} is larger than {max_bytes:,} bytes; send a smaller one")
