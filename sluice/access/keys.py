"""Keys: who may call the api, under which name, and with which limits. Only their hashes are kept, in a file that is read again
when it changes; `sluice keys` writes it.

    {"keys": [{"name": "camera-7", "sha256": "9f86…", "rate_per_s": 10, "burst": 20, "max_backlog": 500, "created": "2026-01-31"}]}

The name owns predictions, rate and backlog; several keys may have one, so that a key can be replaced while it is in use.
"""

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sluice.errors import Unauthorized
from sluice.settings import ApiSettings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0  # how old a key may be that was revoked, beside the requests that are under way
_PREFIX = "sluice_"  # with the fixed length it is what a scanner for secrets looks for: sluice_[A-Za-z0-9_-]{43}
_NAME = r"^[a-z0-9-]{1,40}$"
UNAUTHORIZED = (
    "no valid key was given: send `Authorization: Bearer sluice_…`; who runs this service has keys"
)


class Rate(NamedTuple):
    """`per_s` submissions a second in the long run, and `burst` at once."""

    per_s: float
    burst: int


@dataclass(frozen=True)
class Caller:
    """`name` owns predictions; `max_backlog` bounds how many may be queued or running at once, None where only the queue's bound
    counts. No `rate` is no bound.
    """

    name: str
    max_backlog: int | None = None
    rate: Rate | None = None


ANYBODY = Caller("default")  # whoever calls while keys are off


class Entry(BaseModel):
    """One key, as the file has it. `created` is for people."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    rate_per_s: float | None = Field(
        None, ge=0.001, le=1_000_000, description="It counts in thousandths."
    )
    burst: int | None = Field(None, ge=1, le=1_000_000)
    max_backlog: int | None = Field(None, ge=1)
    created: str | None = Field(None, pattern=r"^\d{4}-\d\d-\d\d$")

    @model_validator(mode="after")
    def _whole_rate(self) -> "Entry":
        if (self.rate_per_s is None) is not (self.burst is None):
            raise ValueError("rate_per_s and burst go together: give both or neither")
        return self

    @property
    def caller(self) -> Caller:
        rate = (
            None
            if self.rate_per_s is None or self.burst is None
            else Rate(self.rate_per_s, self.burst)
        )
        return Caller(self.name, self.max_backlog, rate)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    keys: list[dict[str, Any]] = Field(max_length=1000)  # each is compared with every request's


def new_key() -> str:
    """A key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """SHA-256 in hex. Neither salt nor stretching: nobody can try 2^256 keys, as one could try passwords."""
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> tuple[Entry, ...]:
    """The file's entries, in its order. Raises ValueError, which names the entry and what to change, but no key and no hash."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the keys file {path} can't be read: {error.strerror}") from None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"the keys file {path} is wrong: {error}") from None


def parse(text: bytes) -> tuple[Entry, ...]:
    """The entries of a file that holds `text`. Raises ValueError likewise."""
    try:
        items = _File.model_validate_json(text).keys
    except ValidationError as error:
        raise ValueError(_told(error)) from None
    entries = tuple(entry(item, f"entry {number}") for number, item in enumerate(items, 1))
    callers: dict[str, Caller] = {}
    hashes: set[str] = set()
    for number, found in enumerate(entries, 1):
        if callers.setdefault(found.name, found.caller) != found.caller:
            raise ValueError(
                f"all keys of {found.name} need the same rate_per_s, burst and max_backlog: change entry {number}"
            )
        if found.sha256 in hashes:
            raise ValueError(
                f"entry {number} ({found.name}) has the key of an earlier one: remove either"
            )
        hashes.add(found.sha256)
    return entries


def entry(item: dict[str, Any], called: str) -> Entry:
    """One entry of the file. Raises ValueError, which says `called` and the entry's name."""
    try:
        return Entry.model_validate(item)
    except ValidationError as error:
        name = item.get("name")
        # What is no name may be a key in the wrong place.
        known = f" ({name})" if isinstance(name, str) and re.fullmatch(_NAME, name) else ""
        raise ValueError(f"{called}{known}: {_told(error)}") from None


def dump(entries: Sequence[Entry]) -> bytes:
    """The file that holds `entries`. Raises ValueError where it could not be read again."""
    text = (
        _File(keys=[found.model_dump(exclude_none=True) for found in entries])
        .model_dump_json(indent=2)
        .encode()
        + b"\n"
    )
    parse(text)
    return text


def check(api: ApiSettings) -> None:
    """Raises ValueError where the api would serve whoever reaches it from outside, or where its keys file is wrong."""
    if api.keys_file is not None:
        read(api.keys_file)
    elif not api.open and not _loopback(api.host):
        raise ValueError(
            f"SLUICE_API_HOST is {api.host!r}, which others may reach, and there are no keys. Make one by `sluice keys create NAME"
            " --file FILE` and set SLUICE_API_KEYS_FILE to that file; or set SLUICE_API_OPEN=true if something in front of the api"
            " decides who may call it; or set SLUICE_API_HOST=127.0.0.1."
        )


class Keys:
    """The keys of one api process. With no `path` they are off, and everybody is `default`."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError where the file is wrong."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._seen = _seen(path) if path else None
        self._callers = _callers(path) if path else []

    def caller(self, key: str | None) -> Caller:
        """Whose `key` it is. Raises Unauthorized, in the same words whatever is wrong with it."""
        if self._path is None:
            return ANYBODY
        self._look(self._path)
        if not key:
            raise Unauthorized(UNAUTHORIZED)
        given, found = digest(key), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, given):
                found = caller  # and on, so that the time says nothing about where it was
        if found is None:
            raise Unauthorized(UNAUTHORIZED)
        return found

    def _look(self, path: Path) -> None:
        """Read the file again where it has changed. One that has become wrong is logged once, and the last good one stays."""
        now = self._clock()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        seen = _seen(path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._callers = _callers(path)
        except ValueError as error:
            log.error("the last good keys stay in use: %s", error)
        else:
            log.info("the keys file was read again; keys: %d", len(self._callers))


def _callers(path: Path) -> list[tuple[str, Caller]]:
    return [(found.sha256, found.caller) for found in read(path)]


def _seen(path: Path) -> tuple[int, ...] | None:
    """What differs once the file has been replaced, written or made readable, also where links lead to another one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(error: ValidationError) -> str:
    """What is wrong, without what was given: it may be a key."""
    return "; ".join(
        ": ".join([*_fields(found["loc"]), found["msg"].removeprefix("Value error, ")])
        for found in error.errors()
    )


def _fields(loc: tuple[int | str, ...]) -> list[str]:
    return [str(part) if re.fullmatch(r"\w{1,20}", str(part)) else "a field" for part in loc]
