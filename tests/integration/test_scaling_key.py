"""The sizes of keys that KEDA's Redis trigger sees; k8s/components/keda names the keys."""

import re
import threading
import time

import pytest
import redis

from sluice.errors import IdReused
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Claim, Priority, Problem, Submission
from sluice.settings import QueueSettings
from tests.support.client import Client
from tests.support.live import Live
from tests.support.paths import ROOT
from tests.support.servers import stopped

pytestmark = pytest.mark.integration

# The size of each key at one moment, counted as in pkg/scalers/redis_scaler.go of KEDA 2.19.
_SIZES = """
local command_of = {list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', none = 'LLEN'}
local sizes = {}
for i, key in ipairs(KEYS) do sizes[i] = redis.call(command_of[redis.call('TYPE', key).ok], key) end
return sizes
"""
PROBLEM = Problem(code="not_an_image", message="It is none.")


def _keys(scaler: str) -> list[str]:
    found = re.findall(
        r'listName: "(.+)"', (ROOT / "k8s" / "components" / "keda" / f"{scaler}.yaml").read_text()
    )
    assert found
    return found


@pytest.fixture
def ledger(redis_client: "redis.Redis") -> Ledger:
    return RedisLedger(redis_client, QueueSettings())


def _claim(ledger: Ledger, lease_s: float = 60) -> Claim:
    claim = ledger.claim(f"w/{time.monotonic_ns()}", lease_s)
    assert claim is not None
    return claim


def test_a_prediction_of_any_priority_counts_until_its_end(
    redis_client: "redis.Redis", ledger: Ledger
) -> None:
    key, _ = _keys("worker")
    size = redis_client.register_script(_SIZES)

    def seen() -> int:
        return int(size(keys=[key])[0])

    assert seen() == 0
    for number, priority in enumerate(Priority, start=1):
        ledger.create(priority, Submission(model="codes", priority=priority))
        assert seen() == number, "queued"
    claims = [_claim(ledger) for _ in Priority]
    assert {claim.prediction.priority for claim in claims} == set(Priority)
    assert seen() == len(Priority), "running"
    ledger.requeue(claims[0], delay_s=3600)
    assert seen() == len(Priority), "one of the predictions waits for its retry"
    ledger.succeed(claims[1], {}, {})
    assert seen() == len(Priority) - 1
    ledger.fail(claims[2], PROBLEM, {})
    assert seen() == 1
    ledger.cancel(claims[0].prediction.id)
    assert seen() == 0


def test_a_prediction_whose_worker_died_counts(redis_client: "redis.Redis", ledger: Ledger) -> None:
    key, _ = _keys("worker")
    size = redis_client.register_script(_SIZES)
    ledger.create("a", Submission(model="codes"))
    _claim(ledger, lease_s=0.01)
    time.sleep(0.02)
    assert size(keys=[key]) == [1], "the lease has lapsed before any sweep"
    assert ledger.sweep().requeued == ("a",)
    assert size(keys=[key]) == [1]


def test_the_last_worker_is_held_for_a_while_after_each_submission(
    redis_client: "redis.Redis",
) -> None:
    """Also where the prediction has ended before KEDA looks."""
    size = redis_client.register_script(_SIZES)
    ledger = RedisLedger(redis_client, QueueSettings(recent_s=1))
    assert size(keys=_keys("worker")) == [0, 0]
    for name in ("a", "b"):
        ledger.create(name, Submission(model="codes"))
        ledger.succeed(_claim(ledger), {}, {})
        assert size(keys=_keys("worker")) == [0, 1], "one pod is wanted, and no more"
    until = time.monotonic() + 30
    while size(keys=_keys("worker")) != [0, 0]:
        assert time.monotonic() < until, "the key outlives its time"
        time.sleep(0.05)


def test_each_submission_begins_the_time_anew(redis_client: "redis.Redis") -> None:
    _, recent = _keys("worker")
    ledger = RedisLedger(redis_client, QueueSettings())
    ledger.create("a", Submission(model="codes"))
    assert 119 <= redis_client.ttl(recent) <= 121
    redis_client.expire(recent, 5)
    with pytest.raises(IdReused):
        ledger.create("a", Submission(model="codes"), "another")
    assert redis_client.ttl(recent) <= 5, "nothing was submitted"
    redis_client.zadd(recent, {"last": 1})  # as in a later second
    ledger.create("b", Submission(model="codes"))
    assert redis_client.ttl(recent) > 100


def test_a_due_delivery_counts(redis_client: "redis.Redis", ledger: Ledger) -> None:
    size = redis_client.register_script(_SIZES)
    submission = Submission(
        model="codes", webhook="https://example.com/hook", webhook_events=("completed",)
    )
    ledger.create("a", submission)
    claim = _claim(ledger)
    assert size(keys=_keys("webhooks")) == [0, 0]
    ledger.succeed(claim, {}, {})
    assert size(keys=_keys("webhooks")) == [1, 1]


def test_the_key_is_never_empty_while_a_prediction_runs(live: Live, client: Client) -> None:
    key, _ = _keys("worker")
    done = threading.Event()
    seen: list[tuple[int, int]] = []

    def watch() -> None:
        with redis.Redis.from_url(live.redis) as store:
            size = store.register_script(_SIZES)
            while not done.is_set():
                backlog, running = size(keys=[key, "{default}:leases"])
                seen.append((int(backlog), int(running)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        image = ROOT / "samples" / "desk.jpg"
        priorities = [priority for priority in Priority for _ in range(10)]
        with stopped(*live.worker_pids()):  # both then have several to run at once
            ids = [client.submit(image, priority=priority.value)["id"] for priority in priorities]
        ends = [client.wait(one) for one in ids]
    finally:
        done.set()
        watcher.join()
    assert {(end["status"], end["priority"]) for end in ends} == {
        ("succeeded", priority.value) for priority in Priority
    }
    assert max(running for _, running in seen) >= 2, "no sample saw two predictions run"
    assert [sample for sample in seen if sample[1] > sample[0]] == []
