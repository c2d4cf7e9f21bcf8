"""W3C trace context: the grammar of `traceparent` and `tracestate`.

Source: https://www.w3.org/TR/trace-context/ (level 1, version 00).
"""

import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION = "00"
_INVALID_VERSION = "ff"
_SAMPLED = 1

_MEMBER = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
_MAX_MEMBERS = 32
_MAX_STATE_CHARS = 512
_LONG_MEMBER_CHARS = 128
_MAX_HEADER_CHARS = 8192


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span, as other processes name it."""

    trace_id: str
    """32 hexadecimal digits in lower case, not all zero."""
    span_id: str
    """16 hexadecimal digits in lower case, not all zero."""
    sampled: bool
    """True if spans of the trace may be recorded."""
    state: str = ""
    """The members of `tracestate`; empty without any."""
    own: bool = False
    """True if the span is one of this process, and not a caller's."""

    @property
    def traceparent(self) -> str:
        """The header `traceparent`, in version 00."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def headers(self) -> dict[str, str]:
        """The headers of a request that is made in this span."""
        headers = {"traceparent": self.traceparent}
        if self.state:
            headers["tracestate"] = self.state
        return headers

    def child(self, span_id: str | None = None) -> Self:
        """Return a span of this process below this one, with a random id by default."""
        return replace(self, span_id=span_id or random_span_id(), own=True)

    def derived(self, label: str) -> Self:
        """Return the span that every process derives from this one and `label`.

        An attempt finds the id of an earlier attempt this way, with nothing on record.
        """
        digest = hashlib.sha256(f"{self.traceparent[:52]} {label}".encode()).hexdigest()
        return self.child(digest[:16])


def random_trace_id() -> str:
    return f"{random.getrandbits(128) or 1:032x}"


def random_span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"


def parse(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Return the caller's span, or None where `traceparent` is invalid.

    An invalid `tracestate` is dropped. Flags other than `sampled` are dropped too.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if not match:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == _INVALID_VERSION or (version == _VERSION and rest):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, sampled, parse_state(tracestate) if tracestate else "")


def parse_state(tracestate: str) -> str:
    """Return the members, joined by commas; empty where one of them is invalid.

    A state of more than 512 characters loses its long members, and then the last ones.
    """
    if len(tracestate) > _MAX_HEADER_CHARS:
        return ""
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    keys = set()
    for member in members:
        match = _MEMBER.fullmatch(member)
        if not match or match[1] in keys:
            return ""
        keys.add(match[1])
    if len(members) > _MAX_MEMBERS:
        return ""
    if len(",".join(members)) > _MAX_STATE_CHARS:
        members = [member for member in members if len(member) <= _LONG_MEMBER_CHARS]
    while len(",".join(members)) > _MAX_STATE_CHARS:
        members.pop()
    return ",".join(members)


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """Return the caller's span from ASGI's headers, whose names are in lower case.

    None without a `traceparent`, with an invalid one, or with several.
    """
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    if len(parents) != 1:
        return None
    return parse(parents[0].decode("latin-1").strip(" \t"), b",".join(states).decode("latin-1"))
