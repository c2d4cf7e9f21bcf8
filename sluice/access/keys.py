"""Keys: who may call the api, under which name, and with which limits.

A file holds the hashes of the keys, and `sluice keys` writes it. The api reads it again when it
changes:

    {"keys": [{"name": "camera-7", "sha256": "9f86…", "rate_per_s": 10, "burst": 20,
               "max_backlog": 500, "operator": false, "created": "2026-01-31"}]}

The name owns predictions, rate and backlog. Several keys may have one name, so that a key can be
replaced while it is in use.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sluice import logs
from sluice.errors import Unauthorized
from sluice.settings import ApiSettings

log = logs.get(__name__)

# A revoked key is accepted for so long at most, and in requests that are in progress.
LOOK_EVERY_S = 2.0
# Scanners for secrets look for the prefix and the fixed length: sluice_[A-Za-z0-9_-]{43}.
_PREFIX = "sluice_"
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
    """The caller that a key belongs to."""

    name: str
    """The owner of predictions, rate and backlog."""

    max_backlog: int | None = None
    """How many predictions may be live at once; None: only the queue's bound counts."""

    rate: Rate | None = None
    """How often the caller may submit; None: no bound."""

    operator: bool = False
    """True for an operator's key, which reaches what all keys own."""

    @property
    def scope(self) -> str | None:
        """The name whose predictions the caller reaches; None: those of all names."""
        return None if self.operator else self.name


ANYBODY = Caller("default", operator=True)  # every caller, while keys are off


class Entry(BaseModel):
    """One key, as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    rate_per_s: float | None = Field(
        None, ge=0.001, le=1_000_000, description="Counted in thousandths."
    )
    burst: int | None = Field(None, ge=1, le=1_000_000)
    max_backlog: int | None = Field(None, ge=1)
    operator: bool = Field(False, exclude_if=lambda operator: not operator)
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
        return Caller(self.name, self.max_backlog, rate, self.operator)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    keys: list[dict[str, Any]] = Field(max_length=1000)  # each is compared with every request's


def new_key() -> str:
    """A key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(api_key: str) -> str:
    """SHA-256 in hex. Random keys need no salt and no stretching, which passwords need."""
    return hashlib.sha256(api_key.encode()).hexdigest()


def read(path: Path) -> tuple[Entry, ...]:
    """The file's entries, in its order.

    Raises ValueError, which names the entry and what to change, but no key and no hash.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the keys file {path} can't be read: {error.strerror}") from None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"the keys file {path} is wrong: {error}") from None


def parse(text: bytes) -> tuple[Entry, ...]:
    """The entries of a file that holds `text`. Raises ValueError as `read` does."""
    try:
        items = _File.model_validate_json(text).keys
    except ValidationError as error:
        raise ValueError(_problems(error)) from None
    entries = tuple(entry(item, f"entry {number}") for number, item in enumerate(items, 1))
    callers: dict[str, Caller] = {}
    hashes: set[str] = set()
    for number, key_entry in enumerate(entries, 1):
        name = key_entry.name
        if callers.setdefault(name, key_entry.caller) != key_entry.caller:
            raise ValueError(
                f"all keys of {name} need the same rate_per_s, burst, max_backlog and operator:"
                f" change entry {number}"
            )
        if key_entry.sha256 in hashes:
            raise ValueError(
                f"entry {number} ({name}) has the key of an earlier one: remove either"
            )
        hashes.add(key_entry.sha256)
    return entries


def entry(item: dict[str, Any], called: str) -> Entry:
    """One entry of the file. Raises ValueError, which says `called` and the entry's name."""
    try:
        return Entry.model_validate(item)
    except ValidationError as error:
        name = item.get("name")
        # Text that is not a name may be a key in the wrong place: the message leaves it out.
        shown = f" ({name})" if isinstance(name, str) and re.fullmatch(_NAME, name) else ""
        raise ValueError(f"{called}{shown}: {_problems(error)}") from None


def dump(entries: Sequence[Entry]) -> bytes:
    """The file that holds `entries`. Raises ValueError where it could not be read again."""
    text = (
        _File(keys=[key_entry.model_dump(exclude_none=True) for key_entry in entries])
        .model_dump_json(indent=2)
        .encode()
        + b"\n"
    )
    parse(text)
    return text


def check(api: ApiSettings) -> None:
    """Raises ValueError where anyone outside could call the api, or the keys file is wrong."""
    if api.keys_file is not None:
        read(api.keys_file)
    elif not api.open and not _loopback(api.host):
        raise ValueError(
            f"SLUICE_API_HOST is {api.host!r}, which others may reach, and there are no keys."
            " Make one by `sluice keys create NAME --file FILE` and set SLUICE_API_KEYS_FILE to"
            " that file; or set SLUICE_API_OPEN=true if something in front of the api decides who"
            " may call it; or set SLUICE_API_HOST=127.0.0.1."
        )


class Keys:
    """The keys of one api process. With no `path` they are off, and everybody is `default`."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError where the file is wrong."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._version = _file_version(path) if path else None
        self._callers = _callers(path) if path else []

    def caller(self, key: str | None) -> Caller:
        """The owner of `key`. Raises Unauthorized, in the same words for every cause."""
        if self._path is None:
            return ANYBODY
        self._look(self._path)
        if not key:
            raise Unauthorized(UNAUTHORIZED)
        sha256, owner = digest(key), None
        for known_sha256, caller in self._callers:
            if hmac.compare_digest(known_sha256, sha256):
                owner = caller  # no break: the time taken must not tell the key's place
        if owner is None:
            raise Unauthorized(UNAUTHORIZED)
        return owner

    def names(self) -> tuple[str, ...]:
        """The names that have keys, and `default`, each once and in order."""
        if self._path is not None:
            self._look(self._path)
        return tuple(sorted({ANYBODY.name, *(caller.name for _, caller in self._callers)}))

    def _look(self, path: Path) -> None:
        """Read the file again where it has changed.

        A file that has become wrong is logged once, and the last good one stays in use.
        """
        now = self._clock()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        version = _file_version(path)
        if version == self._version:
            return
        self._version = version
        try:
            self._callers = _callers(path)
        except ValueError as error:
            log.error(
                "keys_unreadable",
                "the keys file is wrong, and the last good keys serve",
                error=error,
            )
        else:
            log.info("keys_read", "the keys file was read again", keys=len(self._callers))


def _callers(path: Path) -> list[tuple[str, Caller]]:
    return [(key_entry.sha256, key_entry.caller) for key_entry in read(path)]


def _file_version(path: Path) -> tuple[int, ...] | None:
    """Numbers that change when the file, or the target of a link, is replaced or written."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns, stat.st_size


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problems(error: ValidationError) -> str:
    """The problems, without the values: a value may be a key."""
    return "; ".join(
        ": ".join([*_fields(problem["loc"]), problem["msg"].removeprefix("Value error, ")])
        for problem in error.errors()
    )


def _fields(loc: tuple[int | str, ...]) -> list[str]:
    return [str(part) if re.fullmatch(r"\w{1,20}", str(part)) else "a field" for part in loc]
