"""Who calls. A route that takes `CallerDep` or `SubmitterDep` asks for a key, before it reads the body."""

import secrets
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Path, Query, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from api.deps import ServicesDep
from sluice.access.keys import UNAUTHORIZED, Caller
from sluice.errors import Gone, NotFound, Unauthorized


def given_key(request: HTTPConnection) -> str | None:
    """The key that a request holds."""
    scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
    return key if scheme.lower() in ("bearer", "token") else None


class _Scheme(HTTPBearer):
    """Also takes `Token`, which older clients of Replicate say for `Bearer`."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        key = given_key(request)
        return (
            None if key is None else HTTPAuthorizationCredentials(scheme="Bearer", credentials=key)
        )


_SCHEME = _Scheme(
    bearerFormat="sluice_…",
    scheme_name="key",
    description="A key that `sluice keys create` made; a key sees only its name's own predictions. A service that is reached only"
    " from its own machine, or through something that asks for keys of its own, may ask for none, and then takes any.",
    auto_error=False,
)


async def caller(
    services: ServicesDep, given: Annotated[HTTPAuthorizationCredentials | None, Security(_SCHEME)]
) -> Caller:
    """Whose key the request has. Raises Unauthorized."""
    return services.keys.caller(given.credentials if given else None)


CallerDep = Annotated[Caller, Depends(caller)]


async def follower(
    services: ServicesDep,
    prediction_id: Annotated[str, Path(alias="id")],
    given: Annotated[HTTPAuthorizationCredentials | None, Security(_SCHEME)],
    ticket: Annotated[
        str | None,
        Query(max_length=100, description="In place of a key; it is part of `urls.stream`."),
    ] = None,
) -> Caller:
    """Who may follow a prediction: its key's holder, or whoever has its ticket. Raises Unauthorized, RedisUnavailable."""
    try:
        return services.keys.caller(given.credentials if given else None)
    except Unauthorized:
        if given or not ticket:
            raise
    try:
        prediction = await services.reads.run(services.ledger.get, prediction_id)
    except (NotFound, Gone):
        raise Unauthorized(UNAUTHORIZED) from None
    if not secrets.compare_digest(prediction.ticket.encode(), ticket.encode()):
        raise Unauthorized(UNAUTHORIZED)
    return Caller(prediction.key)


FollowerDep = Annotated[Caller, Depends(follower)]


async def submitter(services: ServicesDep, caller: CallerDep) -> Caller:
    """The caller, whose submission this is. Raises Unauthorized, RateLimited, RedisUnavailable."""
    if caller.rate:
        await anyio.to_thread.run_sync(services.limiter.take, caller.name, *caller.rate)
    return caller


SubmitterDep = Annotated[Caller, Depends(submitter)]
