"""The load of the queue, now and in the last hour."""

from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query

from api.auth import CallerDep, OperatorDep
from api.deps import QueueLoadDep, TimelineDep
from api.openapi import problems
from api.schemas import MinuteAnswer, QueueAnswer, TimelineAnswer

router = APIRouter(prefix="/v1/queue", tags=["queue"])


@router.get("", responses=problems())
async def get(queue_load: QueueLoadDep, caller: CallerDep) -> QueueAnswer:
    """The backlog of all callers together, and how fast it drains."""
    load = await queue_load.load()
    wait_s = load.wait_s(load.live)
    return QueueAnswer(
        backlog=load.live,
        processing=load.running,
        oldest_s=round(load.oldest_s, 3),
        workers=load.workers,
        per_s=round(load.drain_rate_per_s, 3),
        estimated_wait_s=None if wait_s is None else round(wait_s, 3),
    )


@router.get("/timeline", responses=problems(HTTPStatus.FORBIDDEN))
async def timeline(
    timeline: TimelineDep,
    operator: OperatorDep,
    minutes: Annotated[
        int, Query(ge=1, le=60, description="How many minutes, with the current one.")
    ] = 60,
) -> TimelineAnswer:
    """The load of all keys in each of the last minutes, the oldest first.

    Each worker reports a few times a minute, so the current minute grows until its end. Needs an
    operator's key.
    """
    read = await anyio.to_thread.run_sync(timeline.read, minutes)
    return TimelineAnswer(results=[MinuteAnswer.from_minute(minute) for minute in read])
