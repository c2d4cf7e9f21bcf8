"""The ledger's scripts: `lua/*.lua` of this package, and what is rendered into them from Python."""

import json
import math

from sluice.prediction import TRANSITIONS, Priority
from sluice.redisio import scripts
from sluice.redisio.names import lua_names
from sluice.redisio.scripts import Script
from sluice.settings import QueueSettings

AT_A_TIME = 100
"""At most so many of a kind are put right in one call: Redis does nothing else meanwhile."""

UNSEEN_S = 3 * 24 * 3600
"""How long a delivery waits for its first attempt: the senders may be unavailable for so long."""


_MAX_LOGS_BYTES = 4000


def _transitions() -> str:
    rows = (
        f"{before.value} = {{{', '.join(f'{after.value} = true' for after in sorted(afters))}}}"
        for before, afters in TRANSITIONS.items()
    )
    return f"local ALLOWED = {{{', '.join(rows)}}}"


def _constants() -> str:
    priorities = ", ".join(f"'{priority.value}'" for priority in Priority)
    return (
        f"local AT_A_TIME, UNSEEN_S = {AT_A_TIME}, {UNSEEN_S}\n"
        f"local PRIORITIES = {{{priorities}}} -- the highest first"
    )


GENERATED = {"names": lua_names(), "transitions": _transitions(), "constants": _constants()}
"""The includes that are no files."""


def load(name: str) -> Script:
    """The script `lua/<name>.lua`."""
    return scripts.load("sluice.ledger", name, GENERATED)


def script_limits(settings: QueueSettings) -> str:
    """The limits as JSON, as the scripts take them."""
    longest_kept_s = math.ceil(settings.start_within_s + settings.retry_for_s) + max(
        settings.retention_s, settings.dead_retention_s
    )
    limits = {
        **settings.model_dump(mode="json", exclude={"name"}),
        "max_logs_bytes": _MAX_LOGS_BYTES,
        "index_ttl_s": longest_kept_s,
    }
    return json.dumps(limits)
