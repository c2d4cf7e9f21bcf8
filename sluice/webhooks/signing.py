"""Standard Webhooks 1.0: secrets, signatures and the retry schedule. Sends nothing.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import random
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from secrets import token_bytes
from typing import Any

_TOLERANCE_S = 300
_SECRET_PREFIX, _PRIVATE_PREFIX, _PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
_SECRET_BYTES = 32
_SEED_BYTES = 32


def new_secret() -> str:
    """A random secret: `whsec_…`."""
    return _SECRET_PREFIX + base64.b64encode(token_bytes(_SECRET_BYTES)).decode()


def signature(
    message_id: str,
    timestamp: int,
    body: bytes,
    secrets: Sequence[str],
    signing_key: "SigningKey | None" = None,
) -> str:
    """The header `webhook-signature`: a signature by each secret, and one by `signing_key`.

    Raises ValueError if a secret is malformed.
    """
    content = _signed_content(message_id, timestamp, body)
    signatures = [f"v1,{base64.b64encode(_hmac(secret, content)).decode()}" for secret in secrets]
    if signing_key:
        signatures.append(f"v1a,{base64.b64encode(signing_key.sign(content)).decode()}")
    return " ".join(signatures)


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Verify that a message was signed with `secret`, less than five minutes from `now`.

    `headers` has lower-case names. `secret` is `whsec_…`, or `whpk_…` for Ed25519.
    `now` is in seconds since the epoch. Raises ValueError, which says why.
    """
    try:
        message_id, timestamp, signatures = (
            headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as error:
        raise ValueError(f"the header {error.args[0]} is missing") from None
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > _TOLERANCE_S:
        raise ValueError("webhook-timestamp is more than five minutes from now")
    content = _signed_content(message_id, int(timestamp), body)
    for version, _, encoded in (part.partition(",") for part in signatures.split()):
        try:
            signed = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if secret.startswith(_PUBLIC_PREFIX):
            if version == "v1a" and _ed25519_verifies(secret, signed, content):
                return
        elif version == "v1" and hmac.compare_digest(signed, _hmac(secret, content)):
            return
    raise ValueError("no signature matches: the secret is another one, or the body was changed")


class SigningKey:
    """A private Ed25519 key."""

    def __init__(self, text: str) -> None:
        """`text` is `whsk_` and the seed of 32 bytes in base64. Raises ValueError."""
        seed = _decoded(text, _PRIVATE_PREFIX)
        if len(seed) != _SEED_BYTES:
            raise ValueError(
                f"a signing key is {_PRIVATE_PREFIX} and {_SEED_BYTES} bytes in base64; "
                "`sluice webhooks keypair` makes one"
            )
        self._key = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def new(cls) -> str:
        """A random key as text: `whsk_…`."""
        return _PRIVATE_PREFIX + base64.b64encode(token_bytes(_SEED_BYTES)).decode()

    @property
    def public(self) -> str:
        """The public key, for receivers: `whpk_…`."""
        return _PUBLIC_PREFIX + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        signature: bytes = self._key.sign(data)
        return signature


def delay_s(
    schedule_s: Sequence[float],
    failures: int,
    jitter: float,
    draw: Callable[[float, float], float] = random.uniform,
) -> float | None:
    """Seconds to wait after the last of `failures` failed attempts; None if no attempt follows."""
    if failures > len(schedule_s):
        return None
    return schedule_s[failures - 1] * draw(1 - jitter, 1 + jitter)


def retry_after_s(value: str | None, now: float) -> float:
    """The seconds that a `Retry-After` asks for; 0 if it is absent or malformed.

    RFC 9110, section 10.2.3. `now` is in seconds since the epoch.
    """
    text = (value or "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def _signed_content(message_id: str, timestamp: int, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode() + body


def _hmac(secret: str, content: bytes) -> bytes:
    key = _decoded(secret, _SECRET_PREFIX)
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret is {_SECRET_PREFIX} and 24 to 64 bytes in base64")
    return hmac.digest(key, content, hashlib.sha256)


def _decoded(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        raise ValueError(f"the text after {prefix} must be base64") from None


def _ed25519_verifies(public: str, signed: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        key = _ed25519().Ed25519PublicKey.from_public_bytes(_decoded(public, _PUBLIC_PREFIX))
        key.verify(signed, content)
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
