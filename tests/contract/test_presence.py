"""The contract of `Presence`: who counts as gone, and what becomes of the predictions."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from sluice.errors import RedisUnavailable
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.ledger.presence import Presence, RedisPresence
from sluice.prediction import Status, Submission
from sluice.redisio import connection
from sluice.settings import QueueSettings, RedisSettings, Settings
from tests.fakes.ledger import MemoryLedger
from tests.fakes.presence import Attendance, MemoryPresence
from tests.support.failover import pair
from tests.support.servers import redis_server

SETTINGS = QueueSettings(gone_after_s=0.2)
Make = Callable[[str], Presence]


@pytest.fixture
def parts(kind: str, request: pytest.FixtureRequest) -> tuple[Ledger, Make]:
    """A ledger, and a function that makes the presence of a worker."""
    if kind == "memory":
        memory = MemoryLedger(SETTINGS)
        attendance = Attendance(memory)
        return memory, lambda worker: MemoryPresence(attendance, worker)
    client = request.getfixturevalue("redis_client")
    return RedisLedger(client, SETTINGS), lambda worker: RedisPresence(client, SETTINGS, worker)


@pytest.fixture
def ledger(parts: tuple[Ledger, Make]) -> Ledger:
    return parts[0]


@pytest.fixture
def make(parts: tuple[Ledger, Make]) -> Make:
    return parts[1]


def _claim(ledger: Ledger, worker: str, *names: str) -> None:
    for name in names:
        ledger.create(name, Submission(model="codes"))
        assert ledger.claim(f"{worker}/{name}", 100)


def _silence() -> None:
    time.sleep(2 * SETTINGS.gone_after_s)


def test_the_predictions_of_a_dead_worker_are_queued_again(ledger: Ledger, make: Make) -> None:
    dead, living = make("host/1/a"), make("host/1/b")
    _claim(ledger, "host/1/a", "x", "y")
    _claim(ledger, "host/1/b", "z")
    assert dead.look().gone == living.look().gone == ()
    dead.close()
    _silence()
    seen = living.look()
    assert (seen.gone, seen.ended, seen.refusal) == (("host/1/a",), 2, "")
    assert set(ledger.sweep().requeued) == {"x", "y"}
    assert ledger.get("z").status is Status.PROCESSING
    assert "fell silent" in ledger.get("x").logs, "a lapse is counted"
    _silence()
    assert living.look().gone == (), "a dead worker is named once"


def test_a_keeper_without_a_worker_finds_the_dead_too(ledger: Ledger, make: Make) -> None:
    dead, keeper = make("w"), make("")
    _claim(ledger, "w", "x")
    dead.look()
    dead.close()
    _silence()
    assert keeper.look().gone == ("w",)


def test_a_paused_worker_keeps_its_predictions(ledger: Ledger, make: Make) -> None:
    paused, keeper = make("w"), make("")
    _claim(ledger, "w", "x")
    paused.look()
    _silence()
    assert keeper.look() == ((), 0, "")
    assert ledger.sweep().requeued == ()


def test_a_worker_that_connects_again_soon_keeps_its_predictions(
    ledger: Ledger, make: Make
) -> None:
    worker, keeper = make("w"), make("")
    _claim(ledger, "w", "x")
    worker.look()
    worker.close()
    assert keeper.look().gone == (), "its silence is short"
    worker.look()
    _silence()
    assert keeper.look().gone == ()


def test_a_worker_that_never_subscribed_is_not_gone(ledger: Ledger, make: Make) -> None:
    """A worker of an older version, for instance."""
    _claim(ledger, "w", "x")
    _silence()
    assert make("").look() == ((), 0, "")


def test_a_dead_worker_without_predictions_ends_no_lease(ledger: Ledger, make: Make) -> None:
    idle, keeper = make("w"), make("")
    _claim(ledger, "w2", "x")  # a name that begins alike
    idle.look()
    idle.close()
    _silence()
    assert keeper.look() == (("w",), 0, "")


def test_a_dead_worker_counts_neither_as_alive_nor_as_troubled(ledger: Ledger, make: Make) -> None:
    dead = make("w")
    ledger.heartbeat("w", 60, troubled=True)
    dead.look()
    dead.close()
    assert ledger.load().troubled == 1
    _silence()
    make("").look()
    assert (ledger.load().workers, ledger.load().troubled) == (0, 0)


def test_after_a_restart_of_redis_nobody_is_gone(tmp_path: Path) -> None:
    """Subscriptions end with Redis. A worker that is paused meanwhile can't make a new one."""
    with redis_server(tmp_path) as url, _client(url) as client:
        ledger = RedisLedger(client, SETTINGS)
        paused = RedisPresence(client, SETTINGS, "w")
        _claim(ledger, "w", "x")
        paused.look()
    with redis_server(tmp_path) as url, _client(url) as client:
        _silence()
        keeper, ledger = RedisPresence(client, SETTINGS), RedisLedger(client, SETTINGS)
        assert keeper.look().gone == ()
        assert ledger.get("x").status is Status.PROCESSING
        # Once it has subscribed again, its end is noticed as before.
        paused.close()
        again = RedisPresence(client, SETTINGS, "w")
        again.look()
        again.close()
        _silence()
        assert keeper.look() == (("w",), 1, "")


def test_after_a_failback_nobody_is_gone(tmp_path: Path) -> None:
    """The first primary still has its record of signs, which is old."""
    with pair(tmp_path) as servers:
        with servers.client(0) as client:
            worker = RedisPresence(client, SETTINGS, "w")
            _claim(RedisLedger(client, SETTINGS), "w", "x")
            worker.look()
            worker.close()
        servers.demote(0)
        servers.until_replicating(1)
        _silence()
        servers.demote(1)
        servers.until_replicating(0)
        with servers.client(0) as client:
            keeper = RedisPresence(client, SETTINGS)
            assert keeper.look().gone == ()
            again = RedisPresence(client, SETTINGS, "w")
            again.look()
            again.close()
            _silence()
            assert keeper.look() == (("w",), 1, "")


def test_a_worker_subscribes_again_after_its_connection_broke(
    redis_client: "redis.Redis",
) -> None:
    worker = RedisPresence(redis_client, SETTINGS, "w")
    keeper = RedisPresence(redis_client, SETTINGS)
    channel = "{default}:worker:w"
    worker.look()
    assert dict(redis_client.pubsub_numsub(channel)) == {channel.encode(): 1}
    redis_client.client_kill_filter(_type="pubsub")
    for _ in range(2):  # the first finds the broken connection
        try:
            worker.look()
        except RedisUnavailable:
            continue
    assert dict(redis_client.pubsub_numsub(channel)) == {channel.encode(): 1}
    _silence()
    assert keeper.look().gone == ()
    worker.close()


@pytest.mark.parametrize("command", ["info", "pubsub"])
def test_a_missing_right_is_told_and_nobody_is_gone(
    redis_client: "redis.Redis", redis_url: str, command: str
) -> None:
    redis_client.execute_command(
        "ACL",
        "SETUSER",
        "lesser",
        "on",
        ">word",
        "~*",
        "&*",
        "+@all",
        f"-{command}",
    )
    try:
        with _client(redis_url, username="lesser", password=SecretStr("word")) as client:
            worker = RedisPresence(client, SETTINGS, "w")
            worker.look()
            worker.close()
            _silence()
            seen = RedisPresence(client, SETTINGS).look()
            assert (seen.gone, seen.ended) == ((), 0)
            assert "run" in seen.refusal
    finally:
        redis_client.execute_command("ACL", "DELUSER", "lesser")


def _client(url: str, **settings: object) -> "redis.Redis":
    address = Settings(redis=RedisSettings(url=SecretStr(url), **settings)).redis_address(10)
    return connection.connect(address)
