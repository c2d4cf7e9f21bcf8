"""Scripts whose user lacks a right: each does its whole work, or nothing."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from sluice.access.ratelimit import RedisRateLimiter
from sluice.batch import BatchSubmission
from sluice.blobs.files import RedisFiles
from sluice.blobs.store import RedisBlobs
from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt
from sluice.ledger.batches import RedisBatches
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.ledger.presence import RedisPresence
from sluice.ledger.timeline import Ends, RedisTimeline
from sluice.prediction import Submission
from sluice.redisio import rights
from sluice.redisio.scripts import Script
from sluice.settings import BlobsSettings, QueueSettings, WebhooksSettings
from sluice.webhooks.secrets import RedisSecrets
from tests.support.scripts import SCRIPTS

Keys = dict[bytes, bytes]

HOOK = "https://a.example/hook"
CALL = re.compile(r"redis\.call\('([A-Z]+)'")
WRITERS = [script for script in SCRIPTS if "lacks(" in script.text]


class Recorder(redis.Redis):
    """A client that keeps each call of a script, with all keys before and after it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[Call] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] != "EVALSHA":
            return super().execute_command(*args, **options)
        before = _keys(self)
        answer = super().execute_command(*args, **options)
        self.calls.append(Call(args, before, _keys(self)))
        return answer


@dataclass(frozen=True)
class Call:
    """One call of a script."""

    command: tuple[Any, ...]
    before: Keys
    after: Keys

    @property
    def changes(self) -> int:
        names = self.before.keys() | self.after.keys()
        return sum(self.before.get(name) != self.after.get(name) for name in names)


def _keys(client: "redis.Redis") -> Keys:
    names: Any = client.keys("*")
    return {name: client.dump(name) for name in names}


def _restore(client: "redis.Redis", keys: Keys) -> None:
    client.flushdb()
    for name, value in keys.items():
        client.restore(name, 0, value)


def _live(client: "redis.Redis") -> None:
    """A life of predictions, batches, deliveries, files, rates and secrets, with every script."""
    ledger = RedisLedger(client, QueueSettings())
    batches = RedisBatches(client, QueueSettings())
    ledger.heartbeat("w", 60)
    ledger.heartbeat("w", 60, troubled=True)
    _leave(client, "w")
    for name in ("a", "b", "c", "d"):
        ledger.create(name, Submission(model="codes", webhook=HOOK), size=1)
    for end in ("succeeded", "queued again", "lapsed"):
        claim = ledger.claim(end, 60)
        assert claim is not None
        ledger.renew(claim, -1 if end == "lapsed" else 60)
        if end == "succeeded":
            ledger.succeed(claim, {}, {}, "a line")
        if end == "queued again":
            ledger.requeue(claim, 0, logs="a line")
    ledger.sweep()
    ledger.cancel("d")
    ledger.count_ahead("b")
    ledger.load()
    RedisTimeline(client, QueueSettings()).record(Ends(failed=1))
    batches.open("x", BatchSubmission(model="codes", total=2, webhook=HOOK))
    ledger.create("x-0", Submission(model="codes", batch="x"))
    batches.seal("x")
    batches.cancel("x")
    _deliver(RedisDeliveries(client, "default", WebhooksSettings(timeout_s=0.001, lease_s=0.002)))
    files = RedisFiles(client, "default", RedisBlobs(client), BlobsSettings(files_per_key=1))
    for data in (b"12345", b"1234"):
        file = files.add(data, "default", name="a", content_type="image/jpeg", metadata={})
        files.read(file.id, "default")
    files.delete(file.id, "default")
    RedisRateLimiter(client, "default").take("default", 1, 1)
    secrets = RedisSecrets(client, "default")
    secrets.for_key("default")
    secrets.rotate("default")
    secrets.retire("default")


def _leave(client: "redis.Redis", worker: str) -> None:
    """Let a worker subscribe, die, and be found gone."""
    settings = QueueSettings(gone_after_s=0.001)
    presence = RedisPresence(client, settings, worker)
    presence.look()
    presence.close()
    time.sleep(0.01)
    assert RedisPresence(client, settings).look().gone == (worker,)


def _deliver(deliveries: RedisDeliveries) -> None:
    """Let one delivery die and be sent again, and the others lose their sender."""
    outgoing = deliveries.claim("sender", 10).outgoing
    attempt = DeliveryAttempt(at=1, duration_s=0.1, status=500)
    deliveries.settle([AttemptOutcome(outgoing[0], AttemptResult.FAILED, attempt, b"body", None)])
    deliveries.redeliver(outgoing[0].delivery.id)
    deliveries.file_test("t", "https://b.example/hook", "default", b"{}")
    time.sleep(0.01)
    deliveries.sweep()


@pytest.fixture(scope="module")
def calls(redis_url: str) -> dict[str, Call]:
    """For each script the call that changed the most, by the script's SHA."""
    with Recorder(**redis.connection.parse_url(redis_url)) as client:
        client.flushall()
        _live(client)
        found: dict[str, Call] = {}
        for call in sorted(client.calls, key=lambda call: call.changes):
            found[call.command[1]] = call
    return found


@pytest.fixture
def admin(redis_client: "redis.Redis") -> Iterator["redis.Redis"]:
    yield redis_client
    redis_client.execute_command("ACL", "DELUSER", "app")


def _user(admin: "redis.Redis", *rules: str) -> "redis.Redis":
    """A client of a user who may do everything, but for these rules."""
    may = ("reset", "on", ">pw", "~*", "&*", "+@all")
    admin.execute_command("ACL", "SETUSER", "app", *may, *rules)
    port = admin.connection_pool.connection_kwargs["port"]
    return redis.Redis(port=port, username="app", password="pw")


@pytest.mark.parametrize("script", WRITERS, ids=lambda script: script.name)
def test_a_script_changes_nothing_where_one_command_is_missing(
    script: Script, calls: dict[str, Call], admin: "redis.Redis"
) -> None:
    call = calls[script.sha]
    assert call.changes
    _restore(admin, call.before)
    before = _keys(admin)  # a restored hash has its fields in another order
    # The time is read before anything is changed, so that no guard looks at it.
    for command in set(CALL.findall(script.text)) - {"TIME"}:
        with (
            _user(admin, f"-{command}") as client,
            pytest.raises(NoPermissionError, match=f"(?i){command}"),
        ):
            client.execute_command(*call.command)
        assert _keys(admin) == before, f"without {command}"


def _lasting(keys: Keys) -> set[bytes]:
    """The names of keys without those that have the time in them."""
    return {name for name in keys if b"}:ended:" not in name}


@pytest.mark.parametrize("rule", ["-publish", "resetchannels"])
@pytest.mark.parametrize("script", WRITERS, ids=lambda script: script.name)
def test_a_script_does_all_its_work_where_its_user_may_not_publish(
    script: Script, rule: str, calls: dict[str, Call], admin: "redis.Redis"
) -> None:
    call = calls[script.sha]
    _restore(admin, call.before)
    with _user(admin, rule) as client:
        client.execute_command(*call.command)
    assert _lasting(_keys(admin)) == _lasting(call.after)


def test_a_script_of_a_user_with_all_rights_leaves_no_key_of_its_guard(
    calls: dict[str, Call],
) -> None:
    names = {name for call in calls.values() for name in call.after}
    assert not [name for name in names if name.endswith(b":rights")]


def test_the_table_of_commands_is_what_the_scripts_run() -> None:
    used = {command for script in SCRIPTS for command in CALL.findall(script.text)}
    assert used - {"TIME"} == rights.NO_OPS.keys()
