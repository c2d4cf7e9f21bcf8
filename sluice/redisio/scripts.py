"""Lua scripts in files: a script is joined with its includes and run; errors name their file.

A package keeps its scripts in `lua/` and their shared parts in `lua/include/`. A line
`-- @include name` stands for the file `name.lua`: the package's own, or the one of
`sluice/redisio/lua/include/`. Each file is included once, where it is first named. Of a generated
include, only the lines stay whose names the script uses: Redis runs each line at every call.
"""

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

from sluice.redisio import rights
from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.replication import Replication

_LOADS = 2
"""At most so often a call makes its script known: somebody may flush the scripts in between."""
_SHARED = "sluice.redisio"
_GENERATED = " (generated)"
_GUARD = f"sluice/redisio/rights.py{_GENERATED}"
_INCLUDE = re.compile(r"-- @include (\S+)\s*")
_LINE_OF_SCRIPT = re.compile(r"@?user_script: ?(\d+)")
_DEFINITION = re.compile(r"local (?:function )?(\w+)")
_COMMENT = re.compile(r"--.*")
_LIMIT = re.compile(r"\blimits\.(\w+)")


@dataclass(frozen=True)
class Script:
    """A script with its includes joined; `load` makes one."""

    name: str
    """The file, from the checkout's root."""

    text: str
    """The Lua that Redis runs."""

    sha: str
    """The name that Redis knows the text by."""

    origins: tuple[tuple[str, int], ...]
    """For each line of the text, the file and the line there."""

    def call(self, keys: Sequence[str], args: Sequence[str | float | bytes]) -> "ScriptCall":
        return ScriptCall(self, ("EVALSHA", self.sha, len(keys), *keys, *args))

    @functools.cached_property
    def limits(self) -> frozenset[str]:
        """The names of the limits that the script uses, as `limits.<name>`."""
        return frozenset(_LIMIT.findall(self.text))

    def locate(self, message: str) -> str:
        """An error message of Redis, with the lines of the text replaced by files and lines."""

        def origin(match: re.Match[str]) -> str:
            line = int(match[1])
            known = 1 <= line <= len(self.origins)
            return "{}:{}".format(*self.origins[line - 1]) if known else match[0]

        return _LINE_OF_SCRIPT.sub(origin, message)

    def located(self, error: ResponseError) -> ResponseError:
        """The same error, which names files and lines."""
        return type(error)(self.locate(str(error)))


@dataclass(frozen=True)
class ScriptCall:
    """One call of a script, as the commands that Redis gets."""

    script: Script
    evalsha: tuple[Any, ...]
    """The command that runs the script."""

    @property
    def load(self) -> tuple[str, str, str]:
        """The command that makes the script known to Redis."""
        return "SCRIPT", "LOAD", self.script.text


def load(package: str, name: str, generated: Mapping[str, str] | None = None) -> Script:
    """The script `lua/<name>.lua` of a package. `generated`: the text of includes without files.

    Raises LookupError, with file and line, where an include is missing.
    """
    text = files(package).joinpath(f"lua/{name}.lua").read_text()
    return assemble(f"{_folder(package)}/{name}.lua", text, package, generated)


def assemble(
    name: str, text: str, package: str, generated: Mapping[str, str] | None = None
) -> Script:
    """The script with this text, and with includes as `load` finds them. Raises LookupError.

    Before a script that writes stands a guard, which looks at the rights that it needs.
    """
    lines = _shaken(list(_join(name, text, package, generated or {}, set())))
    guard = rights.guard("\n".join(line for line, _ in lines), name)
    lines = [*((line, (_GUARD, number)) for number, line in enumerate(guard, 1)), *lines]
    joined = "".join(f"{line}\n" for line, _ in lines)
    # Redis names scripts by SHA-1; nothing secret depends on it.
    sha = hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()
    return Script(name, joined, sha, tuple(origin for _, origin in lines))


def run(client: "redis.Redis", call: ScriptCall, replication: Replication | None = None) -> Any:
    """The script's answer, once the replicas that `replication` asks for have its changes.

    Raises errors of redis-py; one in a script names file and line. Raises NotReplicated.
    """
    load: Any = client.execute_command
    try:
        for _ in range(_LOADS):
            try:
                return _run_once(client, call, replication)
            except NoScriptError:  # Redis was restarted, or never knew the script
                load(*call.load)
        return _run_once(client, call, replication)
    except ResponseError as error:
        raise call.script.located(error) from None


def _run_once(client: "redis.Redis", call: ScriptCall, replication: Replication | None) -> Any:
    execute: Any = client.execute_command
    if replication is None:
        return execute(*call.evalsha)
    return replication.write(client, *call.evalsha)


async def run_async(
    connection: MultiplexedConnection, call: ScriptCall, before: Sequence[tuple[Any, ...]] = ()
) -> list[Any]:
    """The answers to the commands `before`, then the script's, all sent in one message.

    An error is in the list, as `MultiplexedConnection.send` has it; one in a script names file and
    line. Raises ConnectionError or TimeoutError of redis-py.
    """
    *answers, answer = await connection.send(*before, call.evalsha)
    if isinstance(answer, NoScriptError):  # Redis was restarted, or never knew the script
        loaded, answer = await connection.send(call.load, call.evalsha)
        if isinstance(loaded, Exception):
            answer = loaded
    if isinstance(answer, ResponseError):
        answer = call.script.located(answer)
    return [*answers, answer]


def _join(
    file: str, text: str, package: str, generated: Mapping[str, str], included: set[str]
) -> Iterator[tuple[str, tuple[str, int]]]:
    """Each line of the joined script, with its file and line."""
    for number, line in enumerate(text.splitlines(), 1):
        include = _INCLUDE.fullmatch(line)
        if include is None:
            yield line, (file, number)
        elif include[1] not in included:
            included.add(include[1])
            found = _find(include[1], package, generated)
            if found is None:
                raise LookupError(f"{file}:{number}: there is no include {include[1]!r}")
            yield from _join(*found, package, generated, included)


def _shaken(lines: list[tuple[str, tuple[str, int]]]) -> list[tuple[str, tuple[str, int]]]:
    """The lines without those generated ones whose name no other line has."""
    code = (_COMMENT.sub("", line) for line, _ in lines)
    words = Counter(word for line in code for word in re.findall(r"\w+", line))

    def is_used(line: str, file: str) -> bool:
        defined = _DEFINITION.match(line)
        return not file.endswith(_GENERATED) or defined is None or words[defined[1]] > 1

    return [(line, origin) for line, origin in lines if is_used(line, origin[0])]


def _find(include: str, package: str, generated: Mapping[str, str]) -> tuple[str, str] | None:
    """The file of an include, and its text."""
    if include in generated:
        return f"{_folder(package)}/include/{include}.lua{_GENERATED}", generated[include]
    for owner in (package, _SHARED):
        path = files(owner).joinpath(f"lua/include/{include}.lua")
        if path.is_file():
            return f"{_folder(owner)}/include/{include}.lua", path.read_text()
    return None


def _folder(package: str) -> str:
    return f"{package.replace('.', '/')}/lua"
