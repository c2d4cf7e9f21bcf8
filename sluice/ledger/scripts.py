"""The ledger's scripts: `lua/*.lua` of this package, and what is rendered into them from Python."""

import json
import math
from collections.abc import Mapping

from sluice.prediction import TRANSITIONS, Priority
from sluice.redisio import scripts
from sluice.redisio.names import Names, lua_names
from sluice.redisio.scripts import Script, ScriptCall
from sluice.settings import QueueSettings

AT_A_TIME = 100
"""At most so many of a kind are put right in one call: Redis does nothing else meanwhile."""

UNSEEN_S = 3 * 24 * 3600
"""How long a delivery waits for its first attempt: the senders may be unavailable for so long."""


_MAX_LOGS_BYTES = 4000


def _transitions() -> str:
    """All of them in one text, ` starting>processing …`. A table would be built at each call."""
    pairs = (f"{a.value}>{b.value}" for a, afters in TRANSITIONS.items() for b in sorted(afters))
    return f"local ALLOWED = ' {' '.join(pairs)} '"


def _constants() -> str:
    priorities = ", ".join(f"'{priority.value}'" for priority in Priority)
    return (
        f"local AT_A_TIME = {AT_A_TIME}\n"
        f"local UNSEEN_S = {UNSEEN_S}\n"
        f"local PRIORITIES = {{{priorities}}} -- the highest first"
    )


GENERATED = {"names": lua_names(), "transitions": _transitions(), "constants": _constants()}
"""The includes that are no files."""


def load(name: str) -> Script:
    """The script `lua/<name>.lua`."""
    return scripts.load("sluice.ledger", name, GENERATED)


class Calls:
    """Makes the calls of one queue's scripts, each with those limits that the script uses."""

    def __init__(self, names: Names, key: str, limits: Mapping[str, object]) -> None:
        """`key` is any key of the queue: it tells a cluster which node runs the scripts."""
        self._key = key
        self._tag = names.tag
        self._limits = limits
        self._json: dict[str, str] = {}

    def __call__(self, script: Script, *args: str | float | bytes) -> ScriptCall:
        limits = self._json.get(script.sha)
        if limits is None:
            used = {name: self._limits[name] for name in sorted(script.limits)}
            limits = self._json[script.sha] = json.dumps(used)
        return script.call([self._key], [self._tag, limits, *args])


def queue_calls(settings: QueueSettings) -> Calls:
    """The calls of scripts about predictions and batches."""
    names = Names(settings.name)
    return Calls(names, names.live, script_limits(settings))


def script_limits(settings: QueueSettings) -> dict[str, object]:
    """The limits by the names that scripts use."""
    longest_kept_s = math.ceil(settings.start_within_s + settings.retry_for_s) + max(
        settings.retention_s, settings.dead_retention_s
    )
    return {
        **settings.model_dump(mode="json", exclude={"name"}),
        "max_logs_bytes": _MAX_LOGS_BYTES,
        "index_ttl_s": longest_kept_s,
    }
