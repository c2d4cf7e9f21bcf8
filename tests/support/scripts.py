"""Every Lua script of Sluice."""

from types import ModuleType

from sluice.access import ratelimit
from sluice.blobs import files
from sluice.ledger import batches, deliveries, predictions, presence, state, timeline
from sluice.redisio.scripts import Script
from sluice.webhooks import secrets

MODULES: tuple[ModuleType, ...] = (
    predictions,
    presence,
    state,
    batches,
    deliveries,
    timeline,
    files,
    ratelimit,
    secrets,
)
SCRIPTS = [
    value for module in MODULES for value in vars(module).values() if isinstance(value, Script)
]
