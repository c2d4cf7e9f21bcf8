"""Webhooks: the log of deliveries, sending one once more, and the secret to verify them with."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path

from api.auth import CallerDep
from api.deps import Services, ServicesDep
from api.openapi import Responses, link, problems
from api.routes.submissions import ID
from api.schemas import BatchEvent, DeliveryAnswer, DeliveryList, PredictionEvent, SecretAnswer
from sluice.access.keys import Caller

router = APIRouter(prefix="/v1", tags=["webhooks"])
events = APIRouter(
    tags=["webhooks"]
)  # what receivers are sent, for OpenAPI: nothing here is ever called

_LISTED: Responses = {200: {"links": {"redeliver": link("webhooks_redeliver", id="/results/0/id")}}}

Id = Annotated[str, Path(alias="id", pattern=ID, description="As the submission's answer gave it.")]
DeliveryId = Annotated[
    str,
    Path(
        alias="id",
        pattern=ID[:-1] + "_(batch_)?(start|completed)$",
        description="As the list of deliveries gives it.",
    ),
]


@router.get(
    "/predictions/{id}/deliveries",
    responses={**_LISTED, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def prediction_deliveries(
    prediction_id: Id, services: ServicesDep, caller: CallerDep
) -> DeliveryList:
    """What became of a prediction's webhook events, with the last attempts at each. Empty where no webhook was asked for."""
    return await _listed(services, caller, "prediction", prediction_id, services.ledger.get)


@router.get(
    "/batches/{id}/deliveries",
    responses={**_LISTED, **problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
async def batch_deliveries(batch_id: Id, services: ServicesDep, caller: CallerDep) -> DeliveryList:
    """What became of a batch's webhook event. Empty until the batch has ended."""
    return await _listed(services, caller, "batch", batch_id, services.batches.get)


async def _listed(
    services: Services, caller: Caller, kind: str, of: str, get: Callable[[str, str], object]
) -> DeliveryList:
    """The caller's; where there are none, `get` raises NotFound or Gone for what is not there, or is another's."""
    found = await anyio.to_thread.run_sync(services.deliveries.deliveries_for, kind, of)
    mine = [
        DeliveryAnswer.from_delivery(delivery) for delivery in found if delivery.key == caller.name
    ]
    if not mine:
        await anyio.to_thread.run_sync(get, of, caller.name)
    return DeliveryList(results=mine)


@router.post(
    "/deliveries/{id}/redeliver",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
)
async def redeliver(
    delivery_id: DeliveryId, services: ServicesDep, caller: CallerDep
) -> DeliveryAnswer:
    """Send an event once more, with the same `webhook-id`, as soon as may be; also where its URL has answered 410."""
    return DeliveryAnswer.from_delivery(
        await anyio.to_thread.run_sync(services.deliveries.redeliver, delivery_id, caller.name)
    )


@router.get("/webhooks/default/secret", responses=problems())
async def secret(services: ServicesDep, caller: CallerDep) -> SecretAnswer:
    """What your webhooks are signed with: give it to a library for Standard Webhooks."""
    return SecretAnswer(
        key=(await anyio.to_thread.run_sync(services.secrets.for_key, caller.name))[0]
    )


@events.post("prediction", status_code=HTTPStatus.NO_CONTENT)
def told_of_a_prediction(event: PredictionEvent) -> None:
    """Sent when a prediction starts, and when it has ended. It is signed in the headers `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, as https://www.standardwebhooks.com says. Any answer but 2xx has it sent again, with the same id.
    """


@events.post("batch", status_code=HTTPStatus.NO_CONTENT)
def told_of_a_batch(event: BatchEvent) -> None:
    """Sent when all of a batch has ended."""
