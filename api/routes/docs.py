"""The page for people about the interface."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.deps import base_url
from api.docs_page import render

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

router = APIRouter(include_in_schema=False, tags=["docs"])


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page that loads nothing from elsewhere."""
    page = render(request.app.openapi(), base_url(request))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
