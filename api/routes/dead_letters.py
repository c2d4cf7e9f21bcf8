"""The dead letters, for an operator: predictions that took their workers down each time."""

from http import HTTPStatus

import anyio.to_thread
from fastapi import APIRouter, Request

from api.auth import OperatorDep
from api.deps import BlobsDep, HistoryDep, IntakeDep, LedgerDep, SubmissionsDep, base_url
from api.openapi import PREDICTION_LINKS, link, problems
from api.pages import CursorQuery, LimitQuery, prediction_page
from api.requests.schemas import PredictionId
from api.schemas import PredictionPage
from sluice.intake.requeue import requeue as requeue_letter
from sluice.resources import PredictionAnswer

router = APIRouter(prefix="/v1/dead-letters", tags=["dead-letters"])


@router.get(
    "",
    responses={
        200: {"links": {"requeue": link("dead_letters_requeue", id="/results/0/id")}},
        **problems(HTTPStatus.FORBIDDEN),
    },
)
async def list_(
    request: Request,
    history: HistoryDep,
    operator: OperatorDep,
    cursor: CursorQuery = None,
    limit: LimitQuery = 50,
) -> PredictionPage:
    """List the dead letters of all keys, the last to end first. Needs an operator's key.

    A dead letter is a prediction whose worker died in each attempt. `error` and `logs` say how.
    """
    page = await anyio.to_thread.run_sync(history.dead, cursor, limit)
    return prediction_page(request, page, names_key=True)


@router.post(
    "/{id}/requeue",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        202: {"links": PREDICTION_LINKS},
        **problems(*map(HTTPStatus, (403, 404, 409, 410, 429))),
    },
)
async def requeue(
    prediction_id: PredictionId,
    request: Request,
    ledger: LedgerDep,
    blobs: BlobsDep,
    intake: IntakeDep,
    submissions: SubmissionsDep,
    operator: OperatorDep,
) -> PredictionAnswer:
    """Submit a dead letter's image again; the answer is the new prediction.

    The new prediction belongs to the same key. The dead letter keeps its final status, so a second
    call makes a second prediction. Needs an operator's key.
    """
    prediction = await submissions.run(requeue_letter, prediction_id, ledger, blobs, intake)
    return PredictionAnswer.from_prediction(prediction, base_url(request), names_key=True)
