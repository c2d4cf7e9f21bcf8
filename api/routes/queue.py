"""The load of the queue."""

from fastapi import APIRouter

from api.auth import CallerDep
from api.deps import QueueLoadDep
from api.openapi import problems
from api.schemas import QueueAnswer

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
