"""The contract of `Ledger`, in Redis and in memory."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from sluice.errors import Conflict, Gone, IdReused, LeaseLost, NotFound, OutputTooLarge
from sluice.ledger.answers import WORKER_LOST, Swept
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import TRANSITIONS, Claim, Parameters, Priority, Status, Submission
from sluice.settings import QueueSettings
from tests.support.ledgers import PROBLEM, claimed, lapse, limited


def test_a_created_prediction_can_be_read(ledger: Ledger) -> None:
    parameters = Parameters(confidence=0.5, classes=("qr_code", 2), visualize=True)
    created, made, waiting = ledger.create(
        "a", Submission(model="codes", parameters=parameters), "d1", 100
    )
    assert (made, waiting) == (True, 1)
    assert created.digest == "d1"
    assert created.status is Status.STARTING
    assert created.parameters == parameters
    assert abs(created.created_at - time.time()) < 60
    assert ledger.get("a") == created
    assert ledger.backlog() == 1


def test_an_id_belongs_to_one_submission(ledger: Ledger) -> None:
    first, *_ = ledger.create("a", Submission(model="codes"), "d1")
    assert ledger.create("a", Submission(model="codes"), "d1") == (first, False, 0)
    with pytest.raises(IdReused):
        ledger.create("a", Submission(model="codes"), "d2")
    assert ledger.backlog() == 1
    claim = ledger.claim("w", 10)
    assert claim is not None
    ledger.succeed(claim, {}, {})
    assert ledger.create("a", Submission(model="codes"), "d1") == (ledger.get("a"), False, 0)
    assert ledger.claim("w", 10) is None


def test_an_unknown_prediction_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.get("nobody")


def test_predictions_are_claimed_once_in_the_order_of_their_creation(ledger: Ledger) -> None:
    for name in "abc":
        ledger.create(name, Submission(model="codes"))
        time.sleep(0.002)
    claims = [ledger.claim(f"w{i}", 10) for i in range(4)]
    assert [claim and claim.prediction.id for claim in claims] == ["a", "b", "c", None]
    first = claims[0]
    assert first is not None
    assert first.prediction.status is Status.PROCESSING
    assert first.prediction.attempts == 1
    assert first.prediction.started_at is not None
    assert ledger.backlog() == 3


def test_a_prediction_that_succeeds_keeps_its_output_and_metrics(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.succeed(claim, {"predictions": [{"x": 1.5, "class": "é"}]}, {"predict_time": 0.25})
    ended = ledger.get("a")
    assert ended.status is Status.SUCCEEDED
    assert ended.output == {"predictions": [{"x": 1.5, "class": "é"}]}
    assert ended.metrics == {"predict_time": 0.25}
    assert ended.completed_at is not None
    assert ended.completed_at >= (ended.started_at or 0) >= ended.created_at
    assert ledger.backlog() == 0


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_an_output_that_is_too_large_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    ledger = limited(kind, request, QueueSettings(max_output_bytes=1000))
    claim = claimed(ledger)
    with pytest.raises(OutputTooLarge, match="fewer detections"):
        ledger.succeed(claim, {"found": "x" * 1000}, {})
    assert ledger.get("a").status is Status.PROCESSING
    ledger.succeed(claim, {"found": "x" * 900}, {})


def test_a_prediction_that_fails_keeps_its_error(ledger: Ledger) -> None:
    ledger.fail(claimed(ledger), PROBLEM, {})
    assert ledger.get("a").status is Status.FAILED
    assert ledger.get("a").error == PROBLEM
    assert ledger.backlog() == 0


def test_a_terminal_status_is_final(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.succeed(claim, {}, {})
    before = ledger.get("a")
    for again in _every_way_to_move(ledger, claim):
        with pytest.raises(LeaseLost):
            again()
    assert ledger.get("a") == before
    assert ledger.claim("w2", 10) is None


def test_an_owner_whose_claim_was_requeued_changes_nothing(ledger: Ledger) -> None:
    stale = claimed(ledger)
    ledger.requeue(stale, 0)
    fresh = ledger.claim("w2", 10)
    assert fresh is not None
    assert fresh.prediction.attempts == 2
    for late in _every_way_to_move(ledger, stale):
        with pytest.raises(LeaseLost):
            late()
    assert ledger.get("a").status is Status.PROCESSING
    ledger.succeed(fresh, {"by": "w2"}, {})
    assert ledger.get("a").output == {"by": "w2"}


def test_a_requeued_prediction_can_be_claimed_after_its_delay(ledger: Ledger) -> None:
    ledger.requeue(claimed(ledger), 100)
    assert ledger.get("a").status is Status.STARTING
    assert ledger.claim("w2", 10) is None
    assert ledger.sweep().due == 0
    assert ledger.backlog() == 1
    ledger.cancel("a")
    ledger.create("b", Submission(model="codes"))
    claim = ledger.claim("w3", 10)
    assert claim is not None
    ledger.requeue(claim, 0.3)
    time.sleep(0.35)
    assert ledger.sweep().due == 1
    assert ledger.claim("w4", 10) is not None


def test_a_prediction_whose_lease_lapses_is_queued_again_then_runs_alone_then_is_a_dead_letter(
    ledger: Ledger,
) -> None:
    ledger.create("a", Submission(model="codes"))
    assert lapse(ledger) == Swept(("a",), (), (), 1, 0)
    assert lapse(ledger) == Swept(("a",), (), (), 0, 1)
    assert ledger.claim("w", 10) is None, "the prediction must run alone now"
    assert ledger.dead() == []
    assert lapse(ledger, alone=True) == Swept((), ("a",), (), 0, 0)
    ended = ledger.get("a")
    assert ended.status is Status.FAILED
    assert ended.error == WORKER_LOST
    assert ended.attempts == 3
    assert ledger.dead() == [ended]
    assert ledger.backlog() == 0


def test_every_sweep_names_a_dead_letter_until_its_image_is_kept(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    for alone in (False, False, True):
        lapse(ledger, alone=alone)
    assert ledger.sweep() == Swept((), ("a",), (), 0, 0), (
        "the keeper of the sweep before may have died since"
    )
    ledger.mark_image_kept("a")
    assert ledger.sweep() == Swept((), (), (), 0, 0)
    ledger.mark_image_kept("a")  # the second of two keepers


def test_a_sweep_does_a_bounded_amount_and_says_what_remains(redis_client: "redis.Redis") -> None:
    # The lapsed ones must not run into a deadline themselves, however slow the machine is.
    ledger = RedisLedger(redis_client, QueueSettings(start_within_s=60))
    for number in range(130):
        ledger.create(f"lapses-{number}", Submission(model="codes"))
        assert ledger.claim(uuid.uuid4().hex, -1) is not None
    for number in range(120):
        ledger.create(f"waits-{number}", Submission(model="codes", start_within_s=0.001))
    time.sleep(0.01)
    first, second = ledger.sweep(), ledger.sweep()
    assert (len(first.requeued), len(first.aborted), first.remaining) == (100, 100, 50)
    assert (len(second.requeued), second.remaining) == (30, 0)


def test_a_prediction_that_survives_its_run_alone_succeeds(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    lapse(ledger)
    lapse(ledger)
    claim = ledger.claim("w", 10, alone=True)
    assert claim is not None
    ledger.succeed(claim, {"found": 1}, {})
    assert ledger.get("a").status is Status.SUCCEEDED
    assert ledger.dead() == []


def test_a_prediction_that_must_run_alone_does_so_after_a_retry_too(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    lapse(ledger)
    lapse(ledger)
    claim = ledger.claim("w", 10, alone=True)
    assert claim is not None
    ledger.requeue(claim, 0)
    assert ledger.claim("w", 10) is None
    assert ledger.claim("w", 10, alone=True) is not None


def test_an_owner_whose_lease_lapsed_changes_nothing(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", -1)
    assert claim is not None
    ledger.sweep()
    with pytest.raises(LeaseLost):
        ledger.succeed(claim, {}, {})
    assert ledger.get("a").status is Status.STARTING


def test_a_queued_prediction_can_be_canceled(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    canceled = ledger.cancel("a")
    assert canceled.status is Status.CANCELED
    assert canceled.completed_at is not None
    assert canceled == ledger.get("a")
    assert ledger.claim("w", 10) is None
    assert ledger.backlog() == 0


def test_a_running_prediction_can_be_canceled_and_its_owner_loses_the_lease(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert ledger.cancel("a").status is Status.CANCELED
    for late in _every_way_to_move(ledger, claim):
        with pytest.raises(LeaseLost):
            late()
    assert ledger.get("a").output is None
    assert ledger.sweep() == Swept((), (), (), 0, 0)


def test_an_ended_or_unknown_prediction_cannot_be_canceled(ledger: Ledger) -> None:
    ledger.fail(claimed(ledger), PROBLEM, {})
    with pytest.raises(Conflict, match="ended"):
        ledger.cancel("a")
    assert ledger.get("a").status is Status.FAILED
    with pytest.raises(NotFound):
        ledger.cancel("b")


def test_retries_are_counted_and_a_claim_that_is_returned_is_not(ledger: Ledger) -> None:
    ledger.requeue(claimed(ledger), 0)
    assert ledger.get("a").retries == 1
    claim = ledger.claim("w", 10)
    assert claim is not None
    assert claim.prediction.retries == 1
    ledger.requeue(claim, 0, retry=False)
    assert ledger.get("a").retries == 1


def test_another_keys_prediction_is_unknown(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes", key="mine"))
    assert ledger.get("a", "mine").id == "a"
    with pytest.raises(NotFound):
        ledger.get("a", "other")
    with pytest.raises(NotFound):
        ledger.cancel("a", "other")
    assert ledger.cancel("a", "mine").status is Status.CANCELED


def test_every_field_of_a_submission_is_on_record(ledger: Ledger) -> None:
    submission = Submission(
        model="codes",
        key="mine",
        priority=Priority.LOW,
        metadata={"line": [1, "ä"]},
        image_url="https://example.com/a.jpg?sig=1",
        start_within_s=2.5,
        webhook="https://example.com/hook",
        webhook_events=("start", "completed"),
        base_url="https://sluice.example.com",
    )
    created, *_ = ledger.create("a", submission, "d")
    assert created == ledger.get("a")
    assert {name: getattr(created, name) for name in dict(submission)} == dict(submission)


def test_logs_have_a_line_for_each_attempt(ledger: Ledger) -> None:
    ledger.requeue(claimed(ledger), 0, logs="attempt 1: Triton is away")
    assert ledger.claim("w2", -1) is not None
    ledger.sweep()
    claim = ledger.claim("w3", 10)
    assert claim is not None
    ledger.succeed(claim, {}, {}, logs="attempt 3: done")
    assert (
        ledger.get("a").logs
        == "attempt 1: Triton is away\nattempt 2: its worker fell silent\nattempt 3: done\n"
    )


def test_a_renewed_lease_does_notlapse(ledger: Ledger) -> None:
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", 0.05)
    assert claim is not None
    ledger.renew(claim, 30)
    time.sleep(0.1)
    assert ledger.sweep() == Swept((), (), (), 0, 0)
    ledger.succeed(claim, {}, {})


def test_records_expire_after_their_end_and_not_before(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings(retention_s=4, tombstone_s=60))
    claim = claimed(ledger)
    assert redis_client.ttl("{default}:prediction:a") == -1
    ledger.succeed(claim, {}, {})
    names = [name.decode().removeprefix("{default}:") for name in redis_client.keys("*")]
    ended = [name for name in names if name.startswith("ended:")]
    assert sorted(names) == sorted(
        ["gone:a", "prediction:a", "recent", "index:default", "expiring", *ended]
    ), "no other Redis key is left"
    assert all(redis_client.ttl(f"{{default}}:{name}") > 0 for name in names)
    assert 4 < redis_client.ttl("{default}:gone:a") <= 64
    time.sleep(4.1)
    with pytest.raises(Gone):
        ledger.get("a")
    with pytest.raises(NotFound):
        ledger.get("a", "another")
    ledger.sweep()
    assert not redis_client.exists("{default}:index:default", "{default}:expiring")
    with pytest.raises(Gone):
        ledger.create("a", Submission(model="codes"))
    redis_client.delete("{default}:gone:a")
    with pytest.raises(NotFound):
        ledger.get("a")


def test_dead_letters_are_bounded(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(
        redis_client,
        QueueSettings(max_shared_lapses=1, max_lone_lapses=1, max_dead=2, dead_retention_s=100),
    )
    for name in "abc":
        ledger.create(name, Submission(model="codes"))
        lapse(ledger)
        lapse(ledger, alone=True)
    ledger.sweep()
    assert [letter.id for letter in ledger.dead()] == ["c", "b"]
    assert ledger.sweep().dead == ("b", "c")
    assert 0 < redis_client.ttl("{default}:prediction:c") <= 100


def test_a_queue_entry_without_a_record_is_dropped(redis_client: "redis.Redis") -> None:
    ledger = RedisLedger(redis_client, QueueSettings())
    for name in ("ready:normal:default", "delayed", "alone", "deadlines", "live"):
        redis_client.zadd(f"{{default}}:{name}", {"ghost": 0})
    redis_client.zadd("{default}:turns:normal", {"default": 0})
    for name in ("leases", "live"):
        redis_client.zadd(f"{{default}}:{name}", {"shade": 0})
    ledger.create("a", Submission(model="codes"))
    ledger.sweep()
    assert ledger.claim("w0", 10, alone=True) is None
    claim = ledger.claim("w1", 10)
    assert claim is not None
    assert claim.prediction.id == "a"
    assert ledger.backlog() == 1
    assert redis_client.keys("*alone") == redis_client.keys("*deadlines") == []


def _every_way_to_move(ledger: Ledger, claim: Claim) -> Iterator[Callable[[], None]]:
    yield lambda: ledger.succeed(claim, {"late": True}, {})
    yield lambda: ledger.fail(claim, PROBLEM, {})
    yield lambda: ledger.requeue(claim, 0)
    yield lambda: ledger.renew(claim, 10)


def test_the_transition_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)
