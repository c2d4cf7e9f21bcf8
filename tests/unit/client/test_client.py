"""The Python client, with answers from httpx's own test transport."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from sluice.client import AsyncClient, Client, ServiceError
from sluice.client.calls import Calls, Pause
from tests.support.answers import prediction

Answer = Callable[[httpx.Request], httpx.Response]


def _client(answer: Answer, **options: Any) -> Client:
    return Client("http://sluice", transport=httpx.MockTransport(answer), **options)


def _problem(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"detail": "no prediction 'a'", "code": code, "status": status}
    return httpx.Response(status, json=body, headers=headers)


class _Clock:
    """A clock that moves only where a call pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _play(call: Any, answers: Iterator[httpx.Response | Exception], clock: _Clock) -> Any:
    """Run a call on the answers, without any time passing. Return its result and its requests."""
    sent = []
    try:
        step = next(call)
        while True:
            if isinstance(step, Pause):
                clock.now += step.seconds
                step = call.send(None)
                continue
            sent.append(step)
            answer = next(answers)
            step = call.throw(answer) if isinstance(answer, Exception) else call.send(answer)
    except StopIteration as stop:
        return stop.value, sent


def _calls(clock: _Clock, retry_for_s: float = 60.0) -> Calls:
    return Calls(retry_for_s, clock=clock, jitter=lambda: 1.0)


def test_submit_sends_the_bytes_and_the_parameters() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.content == b"image"
        assert parse_qs(request.url.query.decode()) == {
            "model": ["codes"],
            "confidence": ["0.5"],
            "visualize": ["true"],
            "classes": ["a", "b"],
            "metadata": ['{"shelf": 7}'],
            "slice": ['{"size": [480, 640], "overlap": 0.3}'],
        }
        assert request.headers["Cancel-After"] == "90"
        return httpx.Response(202, json=prediction())

    submitted = _client(answer).submit(
        b"image",
        model="codes",
        confidence=0.5,
        visualize=True,
        iou=None,
        classes=["a", "b"],
        metadata={"shelf": 7},
        slice={"size": (480, 640), "overlap": 0.3},
        cancel_after_s=90,
    )
    assert (submitted.id, submitted.ended) == (prediction()["id"], False)


def test_a_url_is_sent_as_json_with_the_parameters_as_input() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {
            "input": {"image": "https://example.com/a.jpg", "confidence": 0.5, "slice": True},
            "model": "codes",
            "metadata": {"shelf": 7},
        }
        return httpx.Response(202, json=prediction())

    _client(answer).submit(
        "https://example.com/a.jpg",
        model="codes",
        confidence=0.5,
        slice=True,
        metadata={"shelf": 7},
    )


def test_a_lost_answer_is_asked_for_again_under_the_same_key() -> None:
    clock = _Clock()
    lost = [httpx.ReadTimeout("lost"), httpx.ConnectError("refused"), httpx.ReadError("")]
    answers = iter([*lost, httpx.Response(202, json=prediction())])
    submitted, sent = _play(_calls(clock).submit(b"image", {}), answers, clock)
    keys = {send.options["headers"]["Idempotency-Key"] for send in sent}
    assert (len(sent), len(keys), submitted.status) == (4, 1, "starting")


def test_two_submissions_have_two_keys_unless_the_caller_gives_one() -> None:
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx.Response(202, json=prediction())

    client = _client(answer)
    for _ in range(2):
        client.submit(b"image")
    client.submit(b"image", idempotency_key="mine")
    assert len(set(keys[:2])) == 2
    assert keys[2] == "mine"


def test_the_time_that_a_refusal_names_is_waited() -> None:
    clock = _Clock()
    busy = _problem(429, "queue_full", {"Retry-After": "7"})
    answers = iter([busy, busy, httpx.Response(202, json=prediction())])
    _play(_calls(clock).submit(b"image", {}), answers, clock)
    assert clock.now == 14


def test_a_refusal_beyond_the_time_for_retries_is_an_error_at_once() -> None:
    clock = _Clock()
    answers = iter([_problem(429, "queue_full", {"Retry-After": "100"})])
    with pytest.raises(ServiceError) as caught:
        _play(_calls(clock).submit(b"image", {}), answers, clock)
    assert (caught.value.code, caught.value.retry_after_s, clock.now) == ("queue_full", 100, 0)


@pytest.mark.parametrize(
    "answer", [httpx.ReadTimeout("lost"), httpx.Response(502, text="<html>")], ids=["lost", "proxy"]
)
def test_a_call_that_would_do_a_thing_twice_is_not_repeated(
    answer: httpx.Response | Exception,
) -> None:
    clock = _Clock()
    with pytest.raises(ServiceError):
        _play(_calls(clock).redeliver("a_start"), iter([answer]), clock)
    assert clock.now == 0


def test_a_call_that_never_reached_the_service_is_repeated() -> None:
    clock = _Clock()
    delivery = {
        "id": "a_start",
        "type": "prediction.start",
        "url": "http://x",
        "status": "queued",
        "reason": None,
        "attempts": 0,
    }
    answers = iter([httpx.ConnectError("refused"), httpx.Response(202, json=delivery)])
    redelivered, sent = _play(_calls(clock).redeliver("a_start"), answers, clock)
    assert (redelivered.type, len(sent)) == ("prediction.start", 2)


@pytest.mark.parametrize("status", [400, 404, 410, 422, 500])
def test_an_error_that_time_does_not_cure_is_not_repeated(status: int) -> None:
    clock = _Clock()
    with pytest.raises(ServiceError) as caught:
        _play(_calls(clock).get("a"), iter([_problem(status, "some_code")]), clock)
    assert (caught.value.status, caught.value.code, clock.now) == (status, "some_code", 0)


def test_the_retries_end_with_the_last_error() -> None:
    clock = _Clock()

    def failures() -> Iterator[httpx.Response | Exception]:
        while True:
            yield httpx.ConnectError("refused")

    with pytest.raises(ServiceError, match="did not answer: refused") as caught:
        _play(_calls(clock).get("a"), failures(), clock)
    assert caught.value.status is None
    assert 40 < clock.now <= 60


def test_a_cancel_whose_answer_was_lost_returns_the_canceled_prediction() -> None:
    clock = _Clock()
    answers = iter(
        [
            httpx.ReadTimeout("lost"),
            _problem(409, "already_ended"),
            httpx.Response(200, json=prediction(status="canceled")),
        ]
    )
    canceled, _ = _play(_calls(clock).cancel("a"), answers, clock)
    assert canceled.status == "canceled"


def test_a_cancel_of_an_ended_prediction_is_an_error() -> None:
    clock = _Clock()
    answers = iter(
        [
            _problem(409, "already_ended"),
            httpx.Response(200, json=prediction(status="failed", error="x", error_code="y")),
        ]
    )
    with pytest.raises(ServiceError) as caught:
        _play(_calls(clock).cancel("a"), answers, clock)
    assert caught.value.status == 409


def test_wait_polls_until_the_end() -> None:
    states = iter(["starting", "processing", "succeeded"])

    def answer(request: httpx.Request) -> httpx.Response:
        assert 0 < float(request.url.params["wait"]) <= 20
        return httpx.Response(200, json=prediction(status=next(states)))

    assert _client(answer).wait("a").succeeded


def test_wait_pauses_where_the_api_holds_no_answer() -> None:
    """An api that ends answers long polls at once: another one would get a flood of calls."""
    clock = _Clock()
    begin = clock.now
    answers = iter(
        httpx.Response(200, json=prediction(status=status))
        for status in ("starting", "starting", "succeeded")
    )
    waited, _ = _play(_calls(clock).wait("a", 60), answers, clock)
    assert waited.ended
    assert clock.now - begin == 1.0


def test_wait_gives_up_after_its_timeout() -> None:
    processing = prediction(status="processing")
    with pytest.raises(ServiceError, match="still processing after 0 s") as caught:
        _client(lambda _: httpx.Response(200, json=processing)).wait("a", timeout_s=0)
    assert caught.value.code == "timeout"


def test_run_needs_one_request_where_the_result_comes_in_time() -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append((request.url.path, request.headers["Prefer"]))
        return httpx.Response(201, json=prediction(status="succeeded"))

    assert _client(answer).run(b"image").succeeded
    assert paths == [("/v1/predictions", "wait=20")]


def test_many_images_run_a_few_at_a_time_and_come_in_order() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.content == b"3":
            return _problem(415, "not_an_image")
        return httpx.Response(201, json=prediction(id=request.content.decode(), status="failed"))

    started = []

    def images() -> Iterator[bytes]:
        for number in range(6):
            started.append(number)
            yield str(number).encode()

    with _client(answer) as client:
        results = client.run_many(images(), concurrency=2)
        first = next(results)
        assert not isinstance(first, ServiceError)
        assert (first.id, started) == ("0", [0, 1])
        rest = [
            result.code if isinstance(result, ServiceError) else result.id for result in results
        ]
    assert rest == ["1", "2", "not_an_image", "4", "5"]


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.content == b"1":
            return _problem(415, "not_an_image")
        return httpx.Response(201, json=prediction(id=request.content.decode(), status="failed"))

    async with AsyncClient("http://sluice", transport=httpx.MockTransport(answer)) as client:
        results = [
            result.code if isinstance(result, ServiceError) else result.id
            async for result in client.run_many([b"0", b"1", b"2"], concurrency=2)
        ]
    assert results == ["0", "not_an_image", "2"]


def test_pages_are_followed_at_the_address_that_the_client_knows() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "sluice"
        if request.url.params.get("cursor") == "2":
            return httpx.Response(200, json={"next": None, "results": [prediction(id="b")]})
        assert request.url.params["status"] == "failed"
        next_ = "https://inner.example/v1/predictions?status=failed&cursor=2"
        return httpx.Response(200, json={"next": next_, "results": [prediction(id="a")]})

    listed = _client(answer).predictions(status="failed")
    assert [entry.id for entry in listed] == ["a", "b"]


def test_an_answer_without_a_problem_is_an_error_with_its_status() -> None:
    with pytest.raises(ServiceError, match="answered 502") as caught:
        _client(lambda _: httpx.Response(502, text="<html>"), retry_for_s=0).get("a")
    assert caught.value.status == 502


def test_a_key_is_sent_as_a_bearer_token() -> None:
    authorizations = []

    def answer(request: httpx.Request) -> httpx.Response:
        authorizations.append(request.headers.get("Authorization"))
        return httpx.Response(200, json=prediction())

    for key in ("sluice_x", None):
        with Client("http://test", key, transport=httpx.MockTransport(answer)) as client:
            client.get("a")
    assert authorizations == ["Bearer sluice_x", None]


def test_the_import_is_light() -> None:
    """A fresh interpreter shows all that the import of the client imports."""
    heavy = ["celery", "redis", "PIL", "pydantic", "pydantic_settings", "typer", "numpy"]
    code = f"import sys, sluice.client; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
