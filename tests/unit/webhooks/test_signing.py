"""Payloads, signatures and schedules. The package `standardwebhooks` verifies signatures too."""

import base64
import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sluice.webhooks.payload import payload
from sluice.webhooks.signing import (
    SigningKey,
    delay_s,
    new_secret,
    retry_after_s,
    signature,
    verify,
)

NOW = int(time.time())
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()


def headers(
    body: bytes,
    *secrets: str,
    key: SigningKey | None = None,
    message_id: str = "a_completed",
    at: int | None = None,
) -> dict[str, str]:
    """The headers of a message. The package accepts it for five minutes, by the system's clock."""
    at = NOW if at is None else at
    signed = signature(message_id, at, body, secrets, key)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signed}


@given(st.text(max_size=200), st.from_regex(r"[a-z0-9-]{1,64}_(start|completed)", fullmatch=True))
def test_the_package_verifies_the_signature(text: str, message_id: str) -> None:
    body, secret, now = text.encode(errors="replace"), new_secret(), int(time.time())
    signed = headers(body, secret, message_id=message_id, at=now)
    Webhook(secret).verify(body, signed, json_parse=False)
    verify(signed, body, secret, now)


def test_two_secrets_are_valid_at_once() -> None:
    old, new, now = new_secret(), new_secret(), int(time.time())
    signed = headers(b"{}", new, old, at=now)
    for secret in (new, old):
        Webhook(secret).verify(b"{}", signed)
        verify(signed, b"{}", secret, now)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(b"{}", signed)
    with pytest.raises(ValueError, match="another one"):
        verify(signed, b"{}", new_secret(), now)


def test_the_check_of_replicates_client_accepts_the_signature() -> None:
    """Both secrets of a rotation are accepted, beside an Ed25519 signature."""
    old, new, body = (
        new_secret(),
        new_secret(),
        payload("prediction.completed", NOW, {"id": "a", "text": "ä"}),
    )
    signed = headers(body, new, old, key=SigningKey(SigningKey.new()))
    for secret in (new, old):
        Webhooks.validate(
            headers=signed, body=body.decode(), secret=WebhookSigningSecret(key=secret)
        )
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(
            headers=signed, body=body.decode() + " ", secret=WebhookSigningSecret(key=new)
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"webhook-id": "b_completed"}, "changed"),
        ({"webhook-timestamp": str(NOW + 1)}, "changed"),
        ({"webhook-timestamp": str(NOW - 301)}, "five minutes"),
        ({"webhook-timestamp": "soon"}, "five minutes"),
        ({"webhook-signature": "v1,AAAA v1a,%% v2"}, "no signature matches"),
    ],
)
def test_a_forged_or_old_message_is_refused(change: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        verify(headers(b"{}", SECRET) | change, b"{}", SECRET, NOW)
    with pytest.raises(ValueError, match="changed"):
        verify(headers(b"{}", SECRET), b"{ }", SECRET, NOW)


def test_a_missing_header_is_named() -> None:
    incomplete = headers(b"{}", SECRET)
    del incomplete["webhook-timestamp"]
    with pytest.raises(ValueError, match="webhook-timestamp is missing"):
        verify(incomplete, b"{}", SECRET, NOW)


def test_secrets_are_long_and_distinct() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(
        24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
        for secret in made
    )


@pytest.mark.parametrize(
    "secret", ["whsec_c2hvcnQ=", "whsec_" + base64.b64encode(bytes(65)).decode(), "whsec_!!!"]
)
def test_a_malformed_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signature("a", NOW, b"", [secret])


def test_ed25519() -> None:
    key = SigningKey(SigningKey.new())
    assert key.public.startswith("whpk_")
    now = int(time.time())
    signed = headers(b"{}", SECRET, key=key, at=now)
    assert [part.partition(",")[0] for part in signed["webhook-signature"].split()] == ["v1", "v1a"]
    verify(signed, b"{}", key.public, now)
    Webhook(SECRET).verify(b"{}", signed)
    for other, body in ((SigningKey(SigningKey.new()), b"{}"), (key, b"{ }")):
        with pytest.raises(ValueError, match="no signature matches"):
            verify(signed, body, other.public, now)


def test_ed25519_agrees_with_rfc_8032() -> None:
    """Section 7.1, test 1: the public key that belongs to a seed."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert (
        SigningKey("whsk_" + base64.b64encode(seed).decode()).public
        == "whpk_" + base64.b64encode(public).decode()
    )


@pytest.mark.parametrize("text", ["whsk_c2hvcnQ=", "whsk_!!!", "whsec_"])
def test_a_malformed_signing_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whsk_"):
        SigningKey(text)


def test_a_payload_has_the_form_of_the_specification() -> None:
    body = payload("prediction.completed", 1667507170.344522, {"id": "a", "class": "é"})
    assert json.loads(body) == {
        "type": "prediction.completed",
        "timestamp": "2022-11-03T20:26:10.344522Z",
        "data": {"id": "a", "class": "é"},
    }


def test_the_schedule_ends() -> None:
    def longest(low: float, high: float) -> float:
        return high

    assert [delay_s((5, 300), failures, 0.1, longest) for failures in (1, 2, 3)] == [5.5, 330, None]
    assert all(4.5 <= (delay_s((5,), 1, 0.1) or 0) <= 5.5 for _ in range(100))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 3 ", 3),
        ("-5", 0),
        ("soon", 0),
        ("1e3", 0),
        pytest.param(formatdate(NOW + 60, usegmt=True), 60, id="date"),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, NOW) == seconds
    assert retry_after_s(formatdate(NOW - 60, usegmt=True), NOW) == 0
