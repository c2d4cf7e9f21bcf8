"""Webhooks: the log of deliveries, sending one once more, and the secret to verify them with."""

from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path

from api.auth import CallerDep
from api.deps import ServicesDep
from api.describe import problems
from api.routes.submissions import ID
from api.schemas import DeliveryAnswer, DeliveryList, SecretAnswer

router = APIRouter(prefix="/v1", tags=["webhooks"])

Id = Annotated[str, Path(alias="id", pattern=ID, description="As the submission's answer gave it.")]
DeliveryId = Annotated[
    str, Path(alias="id", pattern=ID[:-1] + "_(batch_)?(start|completed)$", description="As the list of deliveries gives it.")
]


@router.get("/predictions/{id}/deliveries", responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.GONE))
async def deliveries(prediction_id: Id, services: ServicesDep, caller: CallerDep) -> DeliveryList:
    """What became of a prediction's webhook events, with the last attempts at each. Empty where no webhook was asked for."""
    found = await anyio.to_thread.run_sync(services.deliveries.of, "prediction", prediction_id)
    mine = [DeliveryAnswer.of(delivery) for delivery in found if delivery.key == caller.name]
    if not mine:
        await anyio.to_thread.run_sync(services.ledger.get, prediction_id, caller.name)
    return DeliveryList(results=mine)


@router.post(
    "/deliveries/{id}/redeliver",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
)
async def redeliver(delivery_id: DeliveryId, services: ServicesDep, caller: CallerDep) -> DeliveryAnswer:
    """Send an event once more, with the same `webhook-id`, as soon as may be; also where its URL has answered 410."""
    return DeliveryAnswer.of(await anyio.to_thread.run_sync(services.deliveries.redeliver, delivery_id, caller.name))


@router.get("/webhooks/default/secret", responses=problems())
async def secret(services: ServicesDep, caller: CallerDep) -> SecretAnswer:
    """What your webhooks are signed with: give it to a library for Standard Webhooks."""
    return SecretAnswer(key=(await anyio.to_thread.run_sync(services.secrets.of, caller.name))[0])
