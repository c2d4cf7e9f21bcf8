"""Webhooks: the log of deliveries, sending one again, test events, and the secret."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request

from api.auth import CallerDep, OperatorDep, SubmitterDep
from api.deps import BatchesDep, DeliveriesDep, GuardDep, LedgerDep, SecretsDep, SettingsDep
from api.openapi import Responses, link, problems
from api.pages import LimitQuery, page_url
from api.requests.schemas import PREDICTION_ID, PredictionId, WebhookTestRequest
from api.schemas import (
    BatchEvent,
    DeliveryAnswer,
    DeliveryList,
    DeliveryPage,
    PredictionEvent,
    SecretAnswer,
    WebhookTestEvent,
)
from sluice.access.keys import Caller
from sluice.ids import new_id
from sluice.ledger.deliveries import Deliveries
from sluice.webhooks.payload import webhook_test_body

router = APIRouter(prefix="/v1", tags=["webhooks"])
#: The events that receivers get, for OpenAPI only: no route of it is ever called.
events = APIRouter(tags=["webhooks"])

_LISTED: Responses = {200: {"links": {"redeliver": link("webhooks_redeliver", id="/results/0/id")}}}

DeliveryId = Annotated[
    str,
    Path(
        alias="id",
        pattern=PREDICTION_ID[:-1] + "_((batch_)?(start|completed)|test)$",
        description="The id from the list of deliveries.",
    ),
]


@router.get(
    "/predictions/{id}/deliveries",
    responses={**_LISTED, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def prediction_deliveries(
    prediction_id: PredictionId, deliveries: DeliveriesDep, ledger: LedgerDep, caller: CallerDep
) -> DeliveryList:
    """The deliveries of a prediction's webhook events, with the last attempts at each.

    Empty where the submission had no webhook.
    """
    return await _list(deliveries, caller, "prediction", prediction_id, ledger.get)


@router.get(
    "/batches/{id}/deliveries",
    responses={**_LISTED, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def batch_deliveries(
    batch_id: PredictionId, deliveries: DeliveriesDep, batches: BatchesDep, caller: CallerDep
) -> DeliveryList:
    """The delivery of a batch's webhook event. Empty until the batch has ended."""
    return await _list(deliveries, caller, "batch", batch_id, batches.get)


async def _list(
    deliveries: Deliveries,
    caller: Caller,
    kind: str,
    subject_id: str,
    get: Callable[[str, str | None], object],
) -> DeliveryList:
    """The caller's deliveries. Without any, `get` checks that the subject is the caller's.

    Raises NotFound, Gone, RedisUnavailable.
    """
    results = [
        DeliveryAnswer.from_delivery(delivery)
        for delivery in await anyio.to_thread.run_sync(deliveries.deliveries_for, kind, subject_id)
        if caller.scope in (None, delivery.key)
    ]
    if not results:
        await anyio.to_thread.run_sync(get, subject_id, caller.scope)
    return DeliveryList(results=results)


@router.post(
    "/deliveries/{id}/redeliver",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
)
async def redeliver(
    delivery_id: DeliveryId, deliveries: DeliveriesDep, caller: CallerDep
) -> DeliveryAnswer:
    """Send an event again as soon as possible, with the same `webhook-id`.

    Also sends where the URL has answered 410.
    """
    return DeliveryAnswer.from_delivery(
        await anyio.to_thread.run_sync(deliveries.redeliver, delivery_id, caller.scope)
    )


@router.get("/deliveries", responses={**_LISTED, **problems(HTTPStatus.FORBIDDEN)})
async def failed_deliveries(
    request: Request,
    deliveries: DeliveriesDep,
    operator: OperatorDep,
    cursor: Annotated[int, Query(ge=0, le=1_000_000, description="From `next`.")] = 0,
    limit: LimitQuery = 50,
) -> DeliveryPage:
    """List the deliveries of all keys that were given up or stopped, the last to end first.

    Needs an operator's key.
    """
    page = await anyio.to_thread.run_sync(deliveries.dead, cursor, limit + 1)
    return DeliveryPage(
        previous=page_url(request, str(max(0, cursor - limit))) if cursor else None,
        next=page_url(request, str(cursor + limit)) if len(page) > limit else None,
        results=[
            DeliveryAnswer.from_delivery(delivery, names_key=True) for delivery in page[:limit]
        ],
    )


@router.get("/deliveries/{id}", responses=problems(HTTPStatus.NOT_FOUND))
async def delivery(
    delivery_id: DeliveryId, deliveries: DeliveriesDep, caller: CallerDep
) -> DeliveryAnswer:
    """One delivery, with its last attempts."""
    return DeliveryAnswer.from_delivery(
        await anyio.to_thread.run_sync(deliveries.get, delivery_id, caller.scope),
        names_key=caller.operator,
    )


@router.post(
    "/webhooks/test",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        202: {"links": {"delivery": link("webhooks_delivery", id="/id")}},
        **problems(HTTPStatus.TOO_MANY_REQUESTS),
    },
)
async def test(
    event: WebhookTestRequest,
    deliveries: DeliveriesDep,
    guard: GuardDep,
    caller: SubmitterDep,
    settings: SettingsDep,
) -> DeliveryAnswer:
    """Send a test event to a URL, signed as your other events are.

    One attempt is made. `GET /v1/deliveries/{id}` has its outcome. A test event counts as a
    submission against the key's rate.
    """
    guard.check_url(event.url)
    filed = await anyio.to_thread.run_sync(
        deliveries.file_test,
        new_id(settings.queue.id_prefix),
        event.url,
        caller.name,
        webhook_test_body(time.time()),
    )
    return DeliveryAnswer.from_delivery(filed)


@router.get("/webhooks/default/secret", responses=problems())
async def secret(secrets: SecretsDep, caller: CallerDep) -> SecretAnswer:
    """The secret that signs your webhooks. Give it to a library for Standard Webhooks."""
    return SecretAnswer(key=(await anyio.to_thread.run_sync(secrets.for_key, caller.name))[0])


@events.post("prediction", status_code=HTTPStatus.NO_CONTENT)
def told_of_a_prediction(event: PredictionEvent) -> None:
    """Sent when a prediction starts, and when it has ended.

    The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` sign the event, as
    https://www.standardwebhooks.com defines. After any answer but 2xx the event is sent again, with
    the same id.
    """


@events.post("batch", status_code=HTTPStatus.NO_CONTENT)
def told_of_a_batch(event: BatchEvent) -> None:
    """Sent when a batch has ended."""


@events.post("test", status_code=HTTPStatus.NO_CONTENT)
def told_of_a_test(event: WebhookTestEvent) -> None:
    """Sent when somebody asks for a test event."""
