"""Standard Webhooks 1.0: payloads, secrets, signatures, and when to try again. Pure; sends nothing.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from sluice.prediction import isoformat

EVENTS = (
    "start",
    "output",
    "logs",
    "completed",
)  # Replicate's; a detection has no output and no logs before its end
TOLERANCE_S = 300
_SECRET, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"
_NEW_BYTES = 32
_SEED_BYTES = 32


def payload(type_: str, at: float, data: Mapping[str, Any]) -> bytes:
    """An event's body as JSON; `at` is when it happened, in seconds since the epoch."""
    body = {"type": type_, "timestamp": isoformat(at), "data": data}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def new_secret() -> str:
    return _SECRET + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def signature(
    message_id: str,
    timestamp: int,
    body: bytes,
    given: Sequence[str],
    signing_key: "SigningKey | None" = None,
) -> str:
    """The header `webhook-signature`: one signature for each of the secrets `given`, and one by `signing_key`.

    Raises ValueError for what is no secret.
    """
    signed = _signed(message_id, timestamp, body)
    found = [f"v1,{base64.b64encode(_hmac(secret, signed)).decode()}" for secret in given]
    if signing_key:
        found.append(f"v1a,{base64.b64encode(signing_key.sign(signed)).decode()}")
    return " ".join(found)


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Raises ValueError, which says why, unless the message was signed with `secret` (`whsec_…`, or `whpk_…` for Ed25519) less than
    five minutes from `now`. `headers` has lower-case names.
    """
    try:
        message_id, stamp, given = (
            headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as error:
        raise ValueError(f"the header {error.args[0]} is missing") from None
    if not stamp.isdecimal() or abs(now - int(stamp)) > TOLERANCE_S:
        raise ValueError("webhook-timestamp is not of the last five minutes")
    signed = _signed(message_id, int(stamp), body)
    for version, _, encoded in (part.partition(",") for part in given.split()):
        try:
            found = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if secret.startswith(_PUBLIC):
            if version == "v1a" and _ed25519_verifies(secret, found, signed):
                return
        elif version == "v1" and hmac.compare_digest(found, _hmac(secret, signed)):
            return
    raise ValueError("no signature fits: another secret, or the body was changed")


class SigningKey:
    """An Ed25519 key as `whsk_…`: the seed of 32 bytes, in base64."""

    def __init__(self, text: str) -> None:
        """Raises ValueError, which says what to change."""
        seed = _decoded(text, _PRIVATE)
        if len(seed) != _SEED_BYTES:
            raise ValueError(
                f"a signing key is {_PRIVATE} and {_SEED_BYTES} bytes in base64; `sluice webhooks keypair` makes one"
            )
        self._key = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def new(cls) -> str:
        return _PRIVATE + base64.b64encode(secrets.token_bytes(_SEED_BYTES)).decode()

    @property
    def public(self) -> str:
        """`whpk_…`, for receivers."""
        return _PUBLIC + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        signed: bytes = self._key.sign(data)
        return signed


def delay_s(
    schedule_s: Sequence[float],
    failures: int,
    jitter: float,
    draw: Callable[[float, float], float] = random.uniform,
) -> float | None:
    """How long to wait after so many failed attempts, the last one among them; None when there are to be no more."""
    if failures > len(schedule_s):
        return None
    return schedule_s[failures - 1] * draw(1 - jitter, 1 + jitter)


def retry_after_s(value: str | None, now: float) -> float:
    """What a `Retry-After` asks for, in seconds from `now`; 0 where there is none, or it can't be read (RFC 9110, 10.2.3)."""
    text = (value or "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _signed(message_id: str, timestamp: int, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode() + body


def _hmac(secret: str, signed: bytes) -> bytes:
    key = _decoded(secret, _SECRET)
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret is {_SECRET} and 24 to 64 bytes in base64")
    return hmac.digest(key, signed, hashlib.sha256)


def _decoded(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {prefix} must be base64") from None


def _ed25519_verifies(public: str, found: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(_decoded(public, _PUBLIC)).verify(
            found, signed
        )
    except InvalidSignature:
        return False
    return True


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError(
            "Ed25519 needs the package cryptography: install sluice[ed25519]"
        ) from None
    return ed25519
