"""The calls of the interface, without any network: requests, retries, and what answers mean.

Each call is a generator. The generator yields requests and pauses, is sent the answers, and
returns a result. `Client` and `AsyncClient` differ only in how they send and pause.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypedDict, TypeVar

import httpx

from sluice.client.errors import ServiceError
from sluice.client.images import Image, name_of, read
from sluice.client.results import (
    Batch,
    Delivery,
    File,
    JsonObject,
    Minute,
    Model,
    Page,
    Prediction,
    Queue,
)
from sluice.webhooks.signing import retry_after_s

_LONGEST_POLL_S = 20.0  # many proxies cut a longer request off
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_EARLY_PAUSE_S = 0.5
# The service did nothing, so that even a call that must not run twice may be repeated.
_REFUSED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
# A proxy's answers: the call may have reached the service, or not.
_UNCERTAIN = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
_OUTSIDE_INPUT = ("model", "priority", "metadata", "webhook", "webhook_events_filter")

T = TypeVar("T")
Item = TypeVar("Item")
Ending = TypeVar("Ending", Prediction, Batch)


class Options(TypedDict, total=False):
    """The parameters and options of a submission, as the HTTP interface names them."""

    model: str | None
    confidence: float | None
    iou: float | None
    max_detections: int | None
    classes: Sequence[str | int] | None
    class_agnostic: bool | None
    visualize: bool | None
    output_format: Literal["jpg", "png", "webp"] | None
    slice: bool | int | JsonObject | None
    priority: Literal["high", "normal", "low"] | None
    metadata: JsonObject | None
    webhook: str | None
    webhook_events_filter: Sequence[str] | None
    cancel_after_s: float | None
    """Seconds until a prediction that has not started is given up."""
    idempotency_key: str | None
    """A key of your own: the same submission under it is one prediction. Random by default."""


@dataclass(frozen=True)
class Send:
    """A request to make."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of `httpx.Client.request`."""
    wait_s: float = 0.0
    """The time for which the service may hold the answer, beside its usual time."""
    repeatable: bool = True
    """False where a second call would do a thing twice."""


@dataclass(frozen=True)
class Pause:
    """A time to wait."""

    seconds: float


Call = Generator[Send | Pause, httpx.Response | None, T]


class Calls:
    """Makes the calls. A failed request is repeated for up to `retry_for_s` seconds."""

    def __init__(
        self,
        retry_for_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._retry_for_s = retry_for_s
        self._clock = clock
        self._jitter = jitter

    def submit(self, image: Image, options: Options, *, wait_s: float = 0.0) -> Call[Prediction]:
        """Submit an image; `wait_s` holds the answer until the prediction's end."""
        body = _submission(read(image), options)
        headers = {**_headers(options), **body.pop("headers", {})}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s:g}"
        send = Send("POST", "/v1/predictions", {**body, "headers": headers}, wait_s)
        return Prediction.from_json((yield from self._answered(send)).json())

    def run(self, image: Image, options: Options, timeout_s: float) -> Call[Prediction]:
        """Submit an image, and wait for the end of its prediction."""
        end = self._clock() + timeout_s
        prediction = yield from self.submit(
            image, options, wait_s=min(_LONGEST_POLL_S, max(0.0, timeout_s))
        )
        if prediction.ended:
            return prediction
        return (yield from self.wait(prediction.id, max(0.0, end - self._clock())))

    def get(self, prediction_id: str, wait_s: float = 0.0) -> Call[Prediction]:
        raw = yield from self._json(f"/v1/predictions/{prediction_id}", wait_s)
        return Prediction.from_json(raw)

    def wait(self, prediction_id: str, timeout_s: float) -> Call[Prediction]:
        """Wait for the end. Raises ServiceError with the code `timeout`."""
        return (yield from self._wait("prediction", prediction_id, timeout_s, self.get))

    def cancel(self, prediction_id: str) -> Call[Prediction]:
        """Cancel. A repetition whose first call succeeded returns the canceled prediction."""
        path = f"/v1/predictions/{prediction_id}"
        raw = yield from self._canceled(path)
        return Prediction.from_json(raw)

    def annotated(self, prediction_id: str) -> Call[bytes]:
        send = Send("GET", f"/v1/predictions/{prediction_id}/image")
        return (yield from self._answered(send)).content

    def page(
        self, path: str, query: Mapping[str, Any]
    ) -> Call[tuple[list[Prediction], dict[str, str]]]:
        """Return one page of a list, and the next page's query, empty on the last page."""
        send = Send("GET", path, {"params": _fields(query)})
        raw: JsonObject = (yield from self._answered(send)).json()
        # Only the query: the service may know itself by a name that is not known here.
        following = dict(httpx.URL(raw["next"]).params) if raw["next"] else {}
        return [Prediction.from_json(prediction) for prediction in raw["results"]], following

    def submit_batch(self, images: Sequence[Image], options: Options) -> Call[Batch]:
        files = [("image", _part(image, index)) for index, image in enumerate(images)]
        send = Send(
            "POST",
            "/v1/batches",
            {"files": files, "data": _fields(options), "headers": _headers(options)},
        )
        return Batch.from_json((yield from self._answered(send)).json())

    def batch(self, batch_id: str, wait_s: float = 0.0) -> Call[Batch]:
        return Batch.from_json((yield from self._json(f"/v1/batches/{batch_id}", wait_s)))

    def wait_batch(self, batch_id: str, timeout_s: float) -> Call[Batch]:
        """Wait for the end. Raises ServiceError with the code `timeout`."""
        return (yield from self._wait("batch", batch_id, timeout_s, self.batch))

    def cancel_batch(self, batch_id: str) -> Call[Batch]:
        return Batch.from_json((yield from self._canceled(f"/v1/batches/{batch_id}")))

    def upload(self, image: Image, name: str | None) -> Call[File]:
        """Upload a file. Not repeated after a lost answer: the file would be there twice."""
        data = read(image)
        if isinstance(data, str):
            raise TypeError("upload the image itself, not its URL")
        part = (name or name_of(image) or "image", data)
        send = Send("POST", "/v1/files", {"files": {"content": part}}, repeatable=False)
        return File.from_json((yield from self._answered(send)).json())

    def files(self) -> Call[list[File]]:
        raw = yield from self._json("/v1/files")
        return [File.from_json(file) for file in raw["results"]]

    def delete_file(self, file_id: str) -> Call[None]:
        yield from self._answered(Send("DELETE", f"/v1/files/{file_id}"))

    def models(self) -> Call[list[Model]]:
        raw = yield from self._json("/v1/models")
        return [Model.from_json(model) for model in raw["results"]]

    def model(self, name: str) -> Call[Model]:
        return Model.from_json((yield from self._json(f"/v1/models/{name}")))

    def queue(self) -> Call[Queue]:
        return Queue.from_json((yield from self._json("/v1/queue")))

    def predictions_page(self, query: Mapping[str, Any]) -> Call[Page[Prediction]]:
        return (yield from self._page("/v1/predictions", query, Prediction.from_json))

    def timeline(self, minutes: int) -> Call[list[Minute]]:
        send = Send("GET", "/v1/queue/timeline", {"params": {"minutes": str(minutes)}})
        raw: JsonObject = (yield from self._answered(send)).json()
        return [Minute.from_json(minute) for minute in raw["results"]]

    def dead_letters(self, query: Mapping[str, Any]) -> Call[Page[Prediction]]:
        return (yield from self._page("/v1/dead-letters", query, Prediction.from_json))

    def requeue(self, prediction_id: str) -> Call[Prediction]:
        """Not repeated after a lost answer: the image would be submitted twice."""
        send = Send("POST", f"/v1/dead-letters/{prediction_id}/requeue", repeatable=False)
        return Prediction.from_json((yield from self._answered(send)).json())

    def failed_deliveries(self, query: Mapping[str, Any]) -> Call[Page[Delivery]]:
        return (yield from self._page("/v1/deliveries", query, Delivery.from_json))

    def delivery(self, delivery_id: str) -> Call[Delivery]:
        return Delivery.from_json((yield from self._json(f"/v1/deliveries/{delivery_id}")))

    def send_test_event(self, url: str) -> Call[Delivery]:
        """Not repeated after a lost answer: the event would go out twice."""
        send = Send("POST", "/v1/webhooks/test", {"json": {"url": url}}, repeatable=False)
        return Delivery.from_json((yield from self._answered(send)).json())

    def deliveries(self, prediction_id: str) -> Call[list[Delivery]]:
        raw = yield from self._json(f"/v1/predictions/{prediction_id}/deliveries")
        return [Delivery.from_json(delivery) for delivery in raw["results"]]

    def redeliver(self, delivery_id: str) -> Call[Delivery]:
        """Send an event again. Not repeated after a lost answer: the event would go out twice."""
        send = Send("POST", f"/v1/deliveries/{delivery_id}/redeliver", repeatable=False)
        return Delivery.from_json((yield from self._answered(send)).json())

    def webhook_secret(self) -> Call[str]:
        secret: str = (yield from self._json("/v1/webhooks/default/secret"))["key"]
        return secret

    def _wait(
        self, kind: str, id_: str, timeout_s: float, poll: Callable[[str, float], Call[Ending]]
    ) -> Call[Ending]:
        end = self._clock() + timeout_s
        while True:
            begin = self._clock()
            left_s = end - begin
            wait_s = max(0.0, min(_LONGEST_POLL_S, left_s))
            polled = yield from poll(id_, wait_s)
            if polled.ended:
                return polled
            if left_s <= 0:
                raise ServiceError(
                    f"{kind} {id_} is still {polled.status} after {timeout_s:g} s", "timeout"
                )
            if self._clock() - begin < wait_s / 2:  # an api that ends, or is full, holds no answer
                yield Pause(min(_EARLY_PAUSE_S, left_s))

    def _canceled(self, path: str) -> Call[JsonObject]:
        try:
            raw: JsonObject = (yield from self._answered(Send("POST", f"{path}/cancel"))).json()
        except ServiceError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            raw = yield from self._json(path)
            if raw["status"] != "canceled":
                raise
        return raw

    def _page(
        self, path: str, query: Mapping[str, Any], read: Callable[[JsonObject], Item]
    ) -> Call[Page[Item]]:
        send = Send("GET", path, {"params": _fields(query)})
        raw: JsonObject = (yield from self._answered(send)).json()
        return Page(
            tuple(map(read, raw["results"])), _cursor(raw["previous"]), _cursor(raw["next"])
        )

    def _json(self, path: str, wait_s: float = 0.0) -> Call[JsonObject]:
        options = {"params": {"wait": f"{wait_s:g}"}} if wait_s else {}
        raw: JsonObject = (yield from self._answered(Send("GET", path, options, wait_s))).json()
        return raw

    def _answered(self, send: Send) -> Call[httpx.Response]:
        """Repeat a request that failed, as long as that is safe and there is time."""
        end = self._clock() + self._retry_for_s
        longest_s = _FIRST_PAUSE_S
        while True:
            try:
                response = yield send
                assert response is not None
                if response.is_success:
                    return response
                error, safe = _problem(send, response), response.status_code in _REFUSED
                again = safe or (send.repeatable and response.status_code in _UNCERTAIN)
            except httpx.TransportError as cause:
                error = ServiceError(f"the service did not answer: {_reason(cause)}")
                error.__cause__ = cause
                # Without a connection, the service has seen nothing of the call.
                again = send.repeatable or isinstance(cause, httpx.ConnectError)
            pause_s = max(error.retry_after_s or 0.0, longest_s * self._jitter())
            if not again or self._clock() + pause_s > end:
                raise error
            yield Pause(pause_s)
            longest_s = min(_LONGEST_PAUSE_S, 2 * longest_s)


def _cursor(url: str | None) -> str | None:
    return httpx.URL(url).params["cursor"] if url else None


def _submission(image: bytes | str, options: Options) -> dict[str, Any]:
    """Return httpx's arguments: the image as the body, or its URL in JSON."""
    fields = {name: value for name, value in options.items() if value is not None}
    fields.pop("idempotency_key", None)
    fields.pop("cancel_after_s", None)
    if isinstance(image, bytes):
        return {
            "content": image,
            "params": _fields(fields),
            "headers": {"Content-Type": "application/octet-stream"},
        }
    outside = {name: fields.pop(name) for name in _OUTSIDE_INPUT if name in fields}
    return {"json": {"input": {"image": image, **fields}, **outside}}


def _part(image: Image, index: int) -> tuple[str | None, bytes | str]:
    """Return a form's part: a file with a name, or a URL as text."""
    data = read(image)
    return (name_of(image) or f"image-{index}" if isinstance(data, bytes) else None, data)


def _headers(options: Options) -> dict[str, str]:
    headers = {"Idempotency-Key": options.get("idempotency_key") or uuid.uuid4().hex}
    if (cancel_after_s := options.get("cancel_after_s")) is not None:
        headers["Cancel-After"] = f"{cancel_after_s:g}"
    return headers


def _fields(options: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return options as text, for a query or a form."""
    return {
        name: [str(item) for item in value]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else _text(value)
        for name, value in options.items()
        if value is not None and name not in ("idempotency_key", "cancel_after_s")
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _problem(send: Send, response: httpx.Response) -> ServiceError:
    after = response.headers.get("Retry-After")
    after_s = retry_after_s(after, time.time()) if after else None
    try:
        problem = response.json()
        return ServiceError(problem["detail"], problem["code"], response.status_code, after_s)
    except (ValueError, KeyError, TypeError):
        text = f"{send.method} {send.path}: the service answered {response.status_code}"
        return ServiceError(text, None, response.status_code, after_s)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
