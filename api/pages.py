"""Lists in pages, with the URLs of the pages before and after."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query, Request

from api.deps import base_url
from api.schemas import PredictionPage
from sluice.ledger.history import Page
from sluice.resources import PredictionAnswer

CursorQuery = Annotated[str | None, Query(description="From `next` or `previous` of another page.")]
LimitQuery = Annotated[int, Query(ge=1, le=100)]


def page_url(request: Request, cursor: str | None) -> str | None:
    """The URL of another page of the same list; None without a cursor."""
    if not cursor:
        return None
    query = [
        (name, value) for name, value in request.query_params.multi_items() if name != "cursor"
    ]
    # The path of the request may have a prefix that a proxy removed, so the route's is taken.
    path = request.scope["route"].path
    return f"{base_url(request)}{path}?{urlencode([*query, ('cursor', cursor)])}"


def prediction_page(request: Request, page: Page, *, names_key: bool) -> PredictionPage:
    """A page as an answer. With `names_key`, each prediction names its API key."""
    url = base_url(request)
    return PredictionPage(
        previous=page_url(request, page.previous),
        next=page_url(request, page.next),
        results=[
            PredictionAnswer.from_prediction(prediction, url, names_key=names_key)
            for prediction in page.results
        ],
    )
