"""Authentication. A route with `CallerDep` or `SubmitterDep` checks the key before the body."""

import secrets
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Query, Security
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from api.deps import KeysDep, LedgerDep, LimiterDep, ReadsDep
from api.requests.schemas import PredictionId
from sluice.access.keys import UNAUTHORIZED, Caller
from sluice.errors import Forbidden, Gone, NotFound, Unauthorized


def api_key(request: HTTPConnection) -> str | None:
    """The API key that the request holds."""
    scheme, credentials = get_authorization_scheme_param(request.headers.get("Authorization"))
    return credentials if scheme.lower() in ("bearer", "token") else None


class _Scheme(HTTPBearer):
    """Also takes `Token`, the scheme of Replicate's older clients."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        credentials = api_key(request)
        if credentials is None:
            return None
        return HTTPAuthorizationCredentials(scheme="Bearer", credentials=credentials)


_SCHEME = _Scheme(
    bearerFormat="sluice_…",
    scheme_name="key",
    description="A key that `sluice keys create` made. A key sees only the predictions of its own"
    " name, and an operator's key those of all names. A service that only its own machine can reach"
    " may run without keys. A service behind a gateway that checks keys may do so too. Such a"
    " service accepts any key, or none.",
    auto_error=False,
)
CredentialsDep = Annotated[HTTPAuthorizationCredentials | None, Security(_SCHEME)]


async def caller(keys: KeysDep, credentials: CredentialsDep) -> Caller:
    """The owner of the request's key. Raises Unauthorized."""
    return keys.caller(credentials.credentials if credentials else None)


CallerDep = Annotated[Caller, Depends(caller)]


def require_operator(caller: Caller) -> None:
    """Raises Forbidden unless the caller has an operator's key, or keys are off."""
    if not caller.operator:
        raise Forbidden(
            "this call needs an operator's key; `sluice keys create NAME --operator` makes one"
        )


async def operator(caller: CallerDep) -> Caller:
    """The owner of an operator's key; everybody while keys are off.

    Raises Unauthorized, Forbidden.
    """
    require_operator(caller)
    return caller


OperatorDep = Annotated[Caller, Depends(operator)]


async def stream_caller(
    keys: KeysDep,
    reads: ReadsDep,
    ledger: LedgerDep,
    prediction_id: PredictionId,
    credentials: CredentialsDep,
    ticket: Annotated[
        str | None,
        Query(max_length=100, description="Replaces a key. `urls.stream` contains it."),
    ] = None,
) -> Caller:
    """The owner of the key, or of the prediction whose ticket the request holds.

    Raises Unauthorized, RedisUnavailable.
    """
    try:
        return keys.caller(credentials.credentials if credentials else None)
    except Unauthorized:
        if credentials or not ticket:
            raise
    try:
        prediction = await reads.run(ledger.get, prediction_id)
    except (NotFound, Gone):
        raise Unauthorized(UNAUTHORIZED) from None
    if not secrets.compare_digest(prediction.ticket.encode(), ticket.encode()):
        raise Unauthorized(UNAUTHORIZED)
    return Caller(prediction.key)


StreamCallerDep = Annotated[Caller, Depends(stream_caller)]


async def submitter(limiter: LimiterDep, caller: CallerDep) -> Caller:
    """The caller, within its rate of submissions.

    Raises Unauthorized, RateLimited, RedisUnavailable.
    """
    if caller.rate:
        await anyio.to_thread.run_sync(limiter.take, caller.name, *caller.rate)
    return caller


SubmitterDep = Annotated[Caller, Depends(submitter)]
