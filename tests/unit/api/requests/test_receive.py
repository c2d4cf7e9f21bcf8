"""A body is read within its bounds, and no timeout runs while its reader handles a part."""

import asyncio
from collections.abc import Iterable

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.requests.receive import read_body, receive
from sluice.errors import ImageTooLarge, UploadTooSlow
from sluice.settings import LimitsSettings

pytestmark = pytest.mark.anyio

SHORT_IDLE = LimitsSettings(upload_idle_s=0.5, upload_s=60)
SHORT_UPLOAD = LimitsSettings(upload_idle_s=60, upload_s=0.3)


class Sender:
    """Sends `chunks`, one for each message, and then nothing if `stalls`."""

    def __init__(
        self, chunks: Iterable[bytes], *, stalls: bool = False, pause_s: float = 0.0
    ) -> None:
        self._chunks = list(chunks)
        self._stalls = stalls
        self._pause_s = pause_s
        self.sent = 0

    def request(self, **headers: str) -> Request:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
        return Request(scope, self._receive)

    async def _receive(self) -> Message:
        await asyncio.sleep(self._pause_s)
        if self.sent == len(self._chunks):
            assert self._stalls, "the body has ended"
            await asyncio.sleep(3600)
        self.sent += 1
        more = self._stalls or self.sent < len(self._chunks)
        return {"type": "http.request", "body": self._chunks[self.sent - 1], "more_body": more}


async def read_slowly(limits: LimitsSettings, *, pause_s: float) -> list[list[bytes]]:
    """Read 40 chunks that are there already, with a pause after each part."""
    parts = []
    async for part in receive(Sender([b"x"] * 40).request(), limits, 100, "image"):
        await asyncio.sleep(pause_s)
        parts.append(part)
    return parts


@pytest.mark.parametrize("count", [1, 2, 16, 17, 100])
async def test_the_whole_body_arrives_in_order(count: int) -> None:
    chunks = [bytes([number]) * 3 for number in range(count)]
    request = Sender(chunks).request()
    assert await read_body(request, LimitsSettings(), 300) == b"".join(chunks)


async def test_a_reader_may_take_longer_for_a_part_than_the_sender_may_pause() -> None:
    parts = await read_slowly(SHORT_IDLE, pause_s=0.6)
    assert len(parts) == 3
    assert b"".join(chunk for part in parts for chunk in part) == b"x" * 40


async def test_the_timeout_of_the_reader_works_as_usual() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read_slowly(SHORT_IDLE, pause_s=60), 0.1)


async def test_a_sender_that_pauses_too_long_is_cut_off() -> None:
    with pytest.raises(UploadTooSlow):
        await read_body(Sender([b"x"], stalls=True).request(), SHORT_IDLE, 100)


async def test_a_sender_that_drips_is_cut_off() -> None:
    sender = Sender([b"x"] * 1000, pause_s=0.02)
    with pytest.raises(UploadTooSlow):
        await read_body(sender.request(), SHORT_UPLOAD, 10_000)
    assert sender.sent < 20


async def test_the_time_in_all_counts_also_where_every_chunk_is_there_already() -> None:
    with pytest.raises(UploadTooSlow):
        await read_slowly(SHORT_UPLOAD, pause_s=0.4)


@pytest.mark.parametrize("headers", [{}, {"content-length": "400"}])
async def test_a_body_that_is_too_large_is_read_to_its_end_and_refused(
    headers: dict[str, str],
) -> None:
    sender = Sender([bytes(10)] * 40)
    with pytest.raises(ImageTooLarge, match="the file is larger than 100 bytes"):
        await read_body(sender.request(**headers), LimitsSettings(), 100, "file")
    assert sender.sent == 40


async def test_a_client_that_asks_first_is_refused_before_it_sends() -> None:
    sender = Sender([bytes(400)])
    headers = {"content-length": "400", "expect": "100-continue"}
    with pytest.raises(ImageTooLarge):
        await read_body(sender.request(**headers), LimitsSettings(), 100)
    assert sender.sent == 0


async def test_a_refused_body_that_stalls_is_still_refused_for_its_size() -> None:
    with pytest.raises(ImageTooLarge):
        await read_body(Sender([bytes(101)], stalls=True).request(), SHORT_IDLE, 100)


async def test_a_client_that_leaves_ends_the_read() -> None:
    async def leave() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(ClientDisconnect):
        await read_body(Request(scope, leave), LimitsSettings(), 100)
