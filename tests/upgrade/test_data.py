"""The data of each earlier version in a real Redis, and this version's code at work with them."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from sluice.access import keys
from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt, DeliveryStatus
from sluice.errors import IdReused
from sluice.ledger.history import RedisHistory
from sluice.prediction import Status
from sluice.webhooks.payload import event_body
from tests.support.servers import redis_server
from tests.upgrade.write import API_KEY, DATA, IMAGE, KEY, OUTPUT, QUEUE, Writer, _submission

pytestmark = pytest.mark.integration


@pytest.fixture(params=sorted(path.name for path in DATA.iterdir()))
def folder(request: pytest.FixtureRequest) -> Path:
    """The folder of one version."""
    return DATA / request.param


@pytest.fixture
def written(folder: Path) -> dict[str, Any]:
    """The records, as the version that wrote them read them."""
    written: dict[str, Any] = json.loads((folder / "written.json").read_text())
    return written


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Iterator["redis.Redis"]:
    """A Redis that has loaded the version's snapshot."""
    shutil.copy(folder / "dump.rdb", tmp_path)
    with (
        redis_server(tmp_path, "--appendonly", "no") as url,
        redis.Redis.from_url(url) as client,
    ):
        yield client


@pytest.fixture
def stores(client: "redis.Redis") -> Writer:
    return Writer(client)


def _kept(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Every field that the older version knew has its value. A newer one may add fields."""
    assert {name: now[name] for name in before} == before


def test_every_record_reads_as_it_was_written(stores: Writer, written: dict[str, Any]) -> None:
    assert {p["status"] for p in written["predictions"].values()} == {
        "starting", "processing", "succeeded", "failed", "canceled",
    }  # fmt: skip
    for name, before in written["predictions"].items():
        _kept(before, stores.ledger.get(name, KEY).model_dump(mode="json"))
    _kept(written["batch"], stores.batches.get("batch", KEY).model_dump(mode="json"))
    file = stores.files.get(written["ids"]["file"], KEY)
    _kept(written["file"], file.model_dump(mode="json"))
    assert stores.files.read(file.id, KEY) == IMAGE
    for name, before in written["deliveries"].items():
        kind = "batch" if name == "batch" else "prediction"
        now = stores.deliveries.deliveries_for(kind, name)
        for old, new in zip(before, now, strict=True):
            _kept(old, new.model_dump(mode="json"))


def test_history_and_dead_letters_list_all(
    client: "redis.Redis", stores: Writer, written: dict[str, Any]
) -> None:
    history = RedisHistory(client, QUEUE.name)
    listed = {prediction.id for prediction in history.page([KEY]).results}
    # A list leaves out the images of batches; see `GET /v1/batches/{id}`.
    assert listed == set(written["predictions"]) - {written["ids"]["retried"]}
    assert [prediction.id for prediction in history.dead().results] == [written["ids"]["dead"]]
    assert [prediction.id for prediction in stores.ledger.dead()] == [written["ids"]["dead"]]


def test_live_predictions_run_to_their_end(stores: Writer, written: dict[str, Any]) -> None:
    """The lease of the running one has lapsed, so it runs again."""
    ids = written["ids"]
    assert stores.ledger.backlog() == 4
    assert stores.ledger.sweep().requeued == (ids["running"],)
    attempts = {}
    while claim := stores.ledger.claim(f"new/{len(attempts)}", 30):
        stores.ledger.succeed(claim, OUTPUT, {"predict_time": 0.5})
        attempts[claim.prediction.id] = claim.prediction.attempts
    assert attempts == {ids["running"]: 2, ids["retried"]: 2, ids["named"]: 1, ids["queued"]: 1}
    assert {stores.ledger.get(name).status for name in attempts} == {Status.SUCCEEDED}
    assert stores.batches.get("batch").status is Status.SUCCEEDED
    assert len(stores.deliveries.deliveries_for("batch", "batch")) == 1
    assert stores.ledger.backlog() == 0


def test_due_deliveries_are_sent(stores: Writer, written: dict[str, Any]) -> None:
    ids = written["ids"]
    outgoing = stores.deliveries.claim("new", 10).outgoing
    sent = {each.delivery.subject_id: each for each in outgoing}
    assert set(sent) == {ids[kind] for kind in ("succeeded", "failed", "canceled", "dead")}
    first = sent[ids["succeeded"]]
    assert first.delivery.failures == 1
    assert first.body == b'{"type":"prediction.completed"}', "each attempt sends the same bytes"
    for each in outgoing:
        assert each.secrets == tuple(written["secrets"])
        body = each.body or event_body(each.delivery, each.source, None)
        assert json.loads(body)["type"] == "prediction.completed"
    arrived = DeliveryAttempt(at=outgoing[0].at, duration_s=0.1, status=204)
    outcomes = [AttemptOutcome(each, AttemptResult.DELIVERED, arrived) for each in outgoing]
    assert stores.deliveries.settle(outcomes) == [True] * 4
    (delivery,) = stores.deliveries.deliveries_for("prediction", ids["dead"])
    assert delivery.status is DeliveryStatus.DELIVERED


def test_keys_and_secrets_are_valid(folder: Path, stores: Writer, written: dict[str, Any]) -> None:
    caller = keys.Keys(folder / "keys.json").caller(API_KEY)
    assert (caller.name, caller.max_backlog, caller.operator) == (KEY, 50, False)
    assert list(stores.secrets.for_key(KEY)) == written["secrets"]
    stores.secrets.retire(KEY)
    assert list(stores.secrets.for_key(KEY)) == written["secrets"][:1]


def test_a_submission_repeated_after_the_upgrade_is_the_same_prediction(
    stores: Writer, written: dict[str, Any]
) -> None:
    again = stores.intake.accept_named("named", IMAGE, _submission())
    assert again.created_at == written["predictions"]["named"]["created_at"]
    assert stores.ledger.backlog() == 4
    with pytest.raises(IdReused):
        stores.intake.accept_named("named", IMAGE + b"more", _submission())


def test_an_api_reads_what_a_newer_version_added_and_no_worker_runs_it(
    client: "redis.Redis", stores: Writer, written: dict[str, Any]
) -> None:
    """A roll-out in the wrong order, or taken back: records have more than this version knows."""
    name = written["ids"]["queued"]
    record = f"{{default}}:prediction:{name}"
    parameters = json.loads(client.hget(record, "parameters") or b"")
    client.hset(
        record, mapping={"parameters": json.dumps(parameters | {"later": 1}), "newer": "field"}
    )
    _kept(written["predictions"][name], stores.ledger.get(name).model_dump(mode="json"))
    for number in range(2):
        claim = stores.ledger.claim(f"old/{number}", 30)
        assert claim
        assert claim.prediction.id != name
    with pytest.raises(ValidationError, match="later"):
        stores.ledger.claim("old/2", 30)
