"""A run of the tab Try, with answers from httpx's own test transport."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sluice.client import AsyncClient
from tests.support.answers import output, prediction
from ui.run import Run

Answer = Callable[[httpx.Request], httpx.Response]


def _problem(status: int, detail: str, retry_after: str | None = None) -> httpx.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return httpx.Response(status, json={"detail": detail, "code": "some_code"}, headers=headers)


@pytest.fixture
def images(tmp_path: Path) -> list[tuple[str, Path]]:
    paths = [tmp_path / f"{name}.jpg" for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [(path.name, path) for path in paths]


async def _go(run: Run, answer: Answer) -> None:
    transport = httpx.MockTransport(answer)
    async with AsyncClient("http://sluice", retry_for_s=0, transport=transport) as client:
        await run.go(client)


@pytest.mark.anyio
async def test_each_image_is_followed_to_its_own_end(images: list[tuple[str, Path]]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            done = prediction(id=request.url.path[-1], status="succeeded", output=output())
            return httpx.Response(200, json=done)
        name = request.content.decode()
        if name == "b.jpg":
            return _problem(415, "the file is not an image")
        return httpx.Response(202, json=prediction(id=name[0], queue_position=2))

    run = Run.of(images, {"confidence": 0.3})
    await _go(run, answer)
    assert [item.state for item in run.items] == ["succeeded", "refused", "succeeded"]
    assert run.items[1].note == "The file is not an image."
    assert run.ended


@pytest.mark.anyio
async def test_an_overloaded_service_is_asked_again(images: list[tuple[str, Path]]) -> None:
    refusals = [_problem(429, "the queue is full", "0.01")]

    def answer(request: httpx.Request) -> httpx.Response:
        return (
            refusals.pop()
            if refusals
            else httpx.Response(201, json=prediction(status="succeeded", output=output()))
        )

    run = Run.of(images[:1], {})
    await _go(run, answer)
    assert run.items[0].state == "succeeded"
    assert run.items[0].note is None


@pytest.mark.anyio
async def test_a_service_that_stays_overloaded_refuses_in_the_end(
    images: list[tuple[str, Path]],
) -> None:
    run = Run.of(images[:1], {})
    await _go(run, lambda request: _problem(429, "the queue is full", "60"))
    assert run.items[0].state == "refused"
    assert run.items[0].note == "The queue is full. Try again in 60 s."


@pytest.mark.anyio
async def test_an_outage_while_following_loses_nothing(images: list[tuple[str, Path]]) -> None:
    answers = iter(
        [
            httpx.Response(202, json=prediction()),
            _problem(503, "Redis is unavailable", "0.01"),
            httpx.Response(200, json=prediction(status="succeeded", output=output())),
        ]
    )
    run = Run.of(images[:1], {})
    await _go(run, lambda request: next(answers))
    assert run.items[0].state == "succeeded"


@pytest.mark.anyio
async def test_cancel_ends_what_is_queued_and_what_was_not_submitted(
    images: list[tuple[str, Path]],
) -> None:
    canceled = False

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal canceled
        if request.url.path.endswith("/cancel"):
            canceled = True
            return httpx.Response(200, json=prediction(status="canceled"))
        if request.method == "GET":
            return httpx.Response(
                200, json=prediction(status="canceled" if canceled else "starting")
            )
        if request.content == b"a.jpg":
            return httpx.Response(202, json=prediction())
        return _problem(429, "the queue is full", "20")

    run = Run.of(images, {})
    transport = httpx.MockTransport(answer)
    async with AsyncClient("http://sluice", retry_for_s=0, transport=transport) as client:
        going = asyncio.create_task(run.go(client))
        while not all(item.note or item.prediction for item in run.items):
            await run.changed(0.01)
        assert await run.cancel(client) is None
        await going
    assert {item.state for item in run.items} == {"canceled"}


@pytest.mark.anyio
async def test_an_upload_that_was_cleaned_away_is_named(tmp_path: Path) -> None:
    run = Run.of([("gone.jpg", tmp_path / "gone.jpg")], {})
    await _go(run, lambda request: httpx.Response(500))
    assert run.items[0].state == "refused"
    assert "Upload the image again" in (run.items[0].note or "")
