"""`sluice webhooks`: the receiver, the secrets and the dead deliveries."""

import json
import time

import httpx
import pytest
import redis
from typer.testing import CliRunner

from sluice.cli.app import app
from sluice.cli.webhooks import fetch_secret, line
from sluice.webhooks.payload import payload
from sluice.webhooks.receiver import ReceivedEvent, Receiver
from sluice.webhooks.signing import SigningKey, new_secret, signature
from tests.support.loopback import serving

SECRET = new_secret()


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["webhooks", *arguments])
    assert result.exit_code == status, result.output
    return result.output


def send(url: str, body: bytes, secret: str = SECRET) -> int:
    stamp = int(time.time())
    signed = signature("a_completed", stamp, body, [secret])
    headers = {
        "webhook-id": "a_completed",
        "webhook-timestamp": str(stamp),
        "webhook-signature": signed,
    }
    return httpx.post(url, content=body, headers=headers).status_code


def test_the_receiver_verifies_each_message() -> None:
    events: list[ReceivedEvent] = []
    body = payload("prediction.completed", 0, {"status": "succeeded"})
    with Receiver(lambda: SECRET, events.append) as receiver:
        assert send(receiver.url, body) == 204
        assert send(receiver.url, body, new_secret()) == 400
        assert send(receiver.url, b"not JSON") == 400
        assert httpx.post(receiver.url).status_code == 400
        assert httpx.post(receiver.url, content=b"x" * 1_000_001).status_code == 413
    good, *bad = events
    assert (good.id, good.payload, good.error) == ("a_completed", json.loads(body), None)
    assert [event.error is not None for event in bad] == [True] * 3
    assert "prediction.completed" in line(good)
    assert "succeeded" in line(good)
    assert "the secret is another one" in line(bad[0])


def test_fetch_secret_asks_the_service() -> None:
    with serving(lambda handler: handler.reply(200, json.dumps({"key": SECRET}).encode())) as api:
        assert fetch_secret(f"http://127.0.0.1:{api.port}", "sluice_key") == SECRET
    with (
        serving(lambda handler: handler.reply(401)) as api,
        pytest.raises(ValueError, match="--secret"),
    ):
        fetch_secret(f"http://127.0.0.1:{api.port}", None)


def test_listen_on_a_taken_port_says_which_option_to_change() -> None:
    with serving() as other:
        assert "--port" in run("listen", "--port", str(other.port), status=1)


def test_keypair_prints_a_matching_pair() -> None:
    private, public = run("keypair").splitlines()
    assert SigningKey(private.partition("=")[2]).public == public.removeprefix("public: ")


@pytest.fixture
def store(
    redis_url: str, redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> "redis.Redis":
    monkeypatch.setenv("SLUICE_REDIS_URL", redis_url)
    return redis_client


def test_a_secret_is_rotated_and_retired(store: "redis.Redis") -> None:
    (old,) = run("secret", "--key", "camera").splitlines()
    new, kept = run("secret", "--key", "camera", "--rotate").splitlines()
    assert kept == old != new
    assert "retire the old one" in run("secret", "--key", "camera", "--rotate", status=1)
    assert run("secret", "--key", "camera", "--retire").splitlines() == [new]
    assert "no old" in run("secret", "--key", "camera", "--retire", status=1)
    run("secret", "--rotate", "--retire", status=1)


def test_dead_deliveries_are_listed_without_their_urls_query(store: "redis.Redis") -> None:
    fields = {
        "kind": "prediction",
        "subject_id": "a",
        "event": "completed",
        "url": "https://a.example/hook?token=hidden",
        "key": "default",
    }
    ended = {
        "status": "dead",
        "reason": "attempts",
        "created_at": "1",
        "receiver": "r",
        "endpoint": "e",
        "body": "{}",
    }
    store.hset("{default}:delivery:a_completed", mapping=fields | ended)
    store.zadd("{default}:deliveries-dead", {"a_completed": time.time()})
    listed = run("dead")
    assert "a_completed" in listed
    assert "a.example" in listed
    assert "hidden" not in listed
    assert run("redeliver", "a_completed").strip() == "waiting"
    assert "a_completed" not in run("dead")
    assert "on its way" in run("redeliver", "a_completed", status=1)
    assert "no delivery" in run("redeliver", "nobody", status=1)
