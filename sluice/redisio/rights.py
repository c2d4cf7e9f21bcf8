"""The rights that scripts need, looked at before a script changes anything.

Redis does not undo what a script did before a command that its user may not run. Therefore
each script that writes begins with a guard, which `sluice/redisio/scripts.py` puts there.
See `docs/decisions/0054-rights-before-writes.md`.
"""

import re
from collections.abc import Iterable

_CALL = re.compile(r"redis\.call\('([A-Z]+)'")

#: Every command of the scripts, with arguments that change nothing where there is no such key.
#: First come those that a full Redis refuses: after any other, Redis 6.2 refuses none.
NO_OPS = {
    "HSET": "'f', 'v', 'f'",  # an error, like each one with an `x` for a number
    "HINCRBY": "'f', 'x'",
    "INCRBY": "'x'",
    "DECRBY": "'x'",
    "SET": "'', 'XX'",
    "ZADD": "'XX', 0, 'm'",
    "DEL": "",
    "EXISTS": "",
    "EXPIRE": "0",
    "EXPIREAT": "0",
    "GET": "",
    "HDEL": "'f'",
    "HGET": "'f'",
    "HGETALL": "",
    "HKEYS": "",
    "HMGET": "'f'",
    "HSTRLEN": "'f'",
    "LTRIM": "0, 0",
    "SCARD": "",
    "SREM": "'m'",
    "TTL": "",
    "ZCARD": "",
    "ZCOUNT": "0, 0",
    "ZPOPMIN": "",
    "ZRANGE": "0, 0",
    "ZRANGEBYSCORE": "0, 0",
    "ZRANK": "'m'",
    "ZREM": "'m'",
    "ZREMRANGEBYRANK": "0, 0",
    "ZREMRANGEBYSCORE": "0, 0",
    "ZSCORE": "'m'",
    "SADD": "'m'",  # what these two add to Redis 6.2 is deleted again
    "RPUSH": "'m'",
}
_ORDER = list(NO_OPS)
_ADDING = {"SADD", "RPUSH"}
_WRITES = {
    *("HSET", "HINCRBY", "INCRBY", "DECRBY", "SET", "ZADD", "SADD", "RPUSH", "DEL", "EXPIRE"),
    *("EXPIREAT", "HDEL", "LTRIM", "SREM", "ZPOPMIN", "ZREM", "ZREMRANGEBYRANK"),
    "ZREMRANGEBYSCORE",
}

# Redis 7 can be asked. In Redis 6.2 a command is tried, unless Redis is full.
_LACKS = """\
local rights_key, rights_full, may = (KEYS[1] or '') .. ':rights', false, redis.acl_check_cmd
local function lacks(command, ...)
  if may then return not may(command, rights_key, ...) end
  if rights_full then return false end
  local answer = redis.pcall(command, rights_key, ...)
  local said = type(answer) == 'table' and answer.err
  if not said then return false end
  rights_full = string.find(said, 'OOM', 1, true) ~= nil
  return string.find(said, 'user executing the script', 1, true) ~= nil
end"""


def guard(text: str, name: str) -> list[str]:
    """Lines of Lua to put before the script `text`; none where it only reads.

    The script answers NOPERM where a right is missing.
    Raises LookupError for a command that `NO_OPS` does not have.
    """
    commands = set(_CALL.findall(text)) - {"TIME"}
    if commands & _ADDING:
        commands.add("DEL")
    if unknown := commands - NO_OPS.keys():
        raise LookupError(f"{name}: {min(unknown)} is not in sluice/redisio/rights.py")
    if not commands & _WRITES:
        return []
    lines = [*_LACKS.splitlines(), "local lacking ="]
    lines += [f"  {_lacks(command)} and '{command}' or" for command in _ordered(commands)]
    lines += ["  nil", *_clean(commands)]
    return [
        *lines,
        "if lacking then",
        f"  return {{err = 'NOPERM the user may not run ' .. lacking .. ', as {name} needs'}}",
        "end",
    ]


def examination() -> str:
    """Return a script that answers the commands of all scripts that its user may not run."""
    commands = set(NO_OPS)
    lines = [*_LACKS.splitlines(), "local missing = {}"]
    lines += [
        f"if {'#missing == 0 and ' if command in _ADDING else ''}{_lacks(command)}"
        f" then table.insert(missing, '{command}') end"
        for command in _ordered(commands)
    ]
    lines += ["if redis.pcall('TIME').err then table.insert(missing, 'TIME') end"]
    return "\n".join([*lines, *_clean(commands), "return missing"])


def _ordered(commands: Iterable[str]) -> list[str]:
    return sorted(commands, key=_ORDER.index)


def _lacks(command: str) -> str:
    return f"lacks('{command}'{', ' if NO_OPS[command] else ''}{NO_OPS[command]})"


def _clean(commands: set[str]) -> list[str]:
    if not commands & _ADDING:
        return []
    return ["if not may then redis.pcall('DEL', rights_key) end"]
