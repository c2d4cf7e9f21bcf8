"""Write the data of this version: `python -m tests.upgrade.write`, once for each release.

The program drives the version's own code. The folder `data/<version>/` then has a snapshot of
Redis, the keys file, and the records as JSON. Redis 6.2 writes the snapshot; later ones read it.
All times to live are decades, so that the snapshot stays good.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import redis

from sluice import __version__
from sluice.access import keys
from sluice.batch import BatchSubmission, ItemError
from sluice.blobs.files import RedisFiles
from sluice.blobs.store import RedisBlobs
from sluice.delivery import AttemptOutcome, AttemptResult, DeliveryAttempt
from sluice.intake.intake import Intake
from sluice.ledger.batches import RedisBatches
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.predictions import RedisLedger
from sluice.prediction import Claim, Parameters, Priority, Problem, Submission
from sluice.settings import BlobsSettings, QueueSettings, WebhooksSettings
from sluice.webhooks.secrets import RedisSecrets
from tests.fakes.doorbell import CountingDoorbell
from tests.support.paths import ROOT
from tests.support.servers import redis_server

DATA = Path(__file__).with_name("data")
DECADES_S = 40 * 365 * 24 * 3600
QUEUE = QueueSettings(
    lease_s=30,
    start_within_s=DECADES_S,
    retry_for_s=DECADES_S,
    retention_s=DECADES_S,
    dead_retention_s=DECADES_S,
    tombstone_s=DECADES_S,
    batch_idle_s=DECADES_S,
)
WEBHOOKS = WebhooksSettings(give_up_s=DECADES_S, keep_s=DECADES_S, retention_s=DECADES_S)
BLOBS = BlobsSettings(ttl_s=DECADES_S, file_ttl_s=DECADES_S)
KEY = "camera"
API_KEY = "an-example-of-a-key"
HOOK = "https://hooks.example/sluice"
IMAGE = (ROOT / "samples" / "desk.jpg").read_bytes()[:2000]
OUTPUT = {"image": {"width": 8, "height": 8}, "predictions": [{"class": "qr_code"}]}


class Writer:
    """All stores of one version on one Redis."""

    def __init__(self, client: "redis.Redis") -> None:
        blobs = RedisBlobs(client)
        self.ledger = RedisLedger(client, QUEUE)
        self.batches = RedisBatches(client, QUEUE)
        self.deliveries = RedisDeliveries(client, QUEUE.name, WEBHOOKS)
        self.files = RedisFiles(client, QUEUE.name, blobs, BLOBS)
        self.secrets = RedisSecrets(client, QUEUE.name)
        self.intake = Intake(
            self.ledger,
            blobs,
            CountingDoorbell(),
            blob_ttl_s=DECADES_S,
            orphan_ttl_s=DECADES_S,
        )

    def write(self) -> dict[str, Any]:
        """Write every kind once. Returns the ids by kind, and the records as they were read."""
        self.secrets.for_key(KEY)
        self.secrets.rotate(KEY)
        ids = {
            "succeeded": self._ended("succeeded"),
            "failed": self._ended("failed"),
            "canceled": self._canceled(),
            "dead": self._dead(),
        }
        self._fail_the_first_delivery()
        ids["running"] = self._running()
        ids["batch"] = self._batch()
        ids["retried"] = self._retried()
        ids["named"] = self.intake.accept_named("named", IMAGE, _submission()).id
        ids["queued"] = self._new()
        ids["file"] = self.files.add(
            IMAGE, KEY, name="desk.jpg", content_type="image/jpeg", metadata={"row": 3}
        ).id
        names = [ids[kind] for kind in ids if kind not in ("batch", "file")]
        return {
            "ids": ids,
            "secrets": list(self.secrets.for_key(KEY)),
            "predictions": {n: self.ledger.get(n).model_dump(mode="json") for n in names},
            "deliveries": {
                n: [d.model_dump(mode="json") for d in self.deliveries.deliveries_for(kind, n)]
                for kind, n in [*(("prediction", n) for n in names), ("batch", ids["batch"])]
            },
            "batch": self.batches.get(ids["batch"]).model_dump(mode="json"),
            "file": self.files.get(ids["file"], KEY).model_dump(mode="json"),
        }

    def _new(self) -> str:
        return self.intake.accept_new(IMAGE, _submission()).id

    def _claim(self, lease_s: float = 30) -> Claim:
        claim = self.ledger.claim(f"writer/{lease_s}", lease_s)
        assert claim
        return claim

    def _running(self) -> str:
        """A prediction whose lease lapses in a second."""
        name = self._new()
        assert self._claim(1).prediction.id == name
        return name

    def _retried(self) -> str:
        """The image of the batch that waits, after one retry."""
        claim = self._claim()
        self.ledger.requeue(claim, 0.0)
        return claim.prediction.id

    def _ended(self, how: str) -> str:
        name = self._new()
        claim = self._claim()
        if how == "succeeded":
            self.ledger.succeed(claim, OUTPUT, {"predict_time": 0.25}, "one line")
        else:
            problem = Problem(code="truncated_image", message="The image ends too early.")
            self.ledger.fail(claim, problem, {})
        return name

    def _canceled(self) -> str:
        return self.intake.cancel(self._new()).id

    def _dead(self) -> str:
        name = self._new()
        lapses = QUEUE.max_shared_lapses + QUEUE.max_lone_lapses
        for number in range(lapses):
            alone = number >= QUEUE.max_shared_lapses
            assert self.ledger.claim(f"dying/{number}", -1, alone=alone)
            self.ledger.sweep()
        return name

    def _fail_the_first_delivery(self) -> None:
        """One failed attempt, which is due again at once."""
        (outgoing,) = self.deliveries.claim("sender", 1).outgoing
        attempt = DeliveryAttempt(at=outgoing.at, duration_s=0.5, status=500, answer="no")
        body = b'{"type":"prediction.completed"}'
        outcome = AttemptOutcome(outgoing, AttemptResult.FAILED, attempt, body, delay_s=0.0)
        assert self.deliveries.settle([outcome]) == [True]

    def _batch(self) -> str:
        """Three images: one has ended, one waits, and one was refused."""
        submission = BatchSubmission(
            model="codes", total=3, key=KEY, webhook=HOOK, webhook_events=("completed",)
        )
        batch = self.batches.open("batch", submission)
        for index in range(2):
            item = _submission(batch=batch.id, webhook=None, webhook_events=())
            self.intake.accept_named(batch.item(index), IMAGE, item)
        claim = self._claim()
        self.ledger.succeed(claim, OUTPUT, {})
        error = ItemError(index=2, name="c.txt", code="not_an_image", detail="It is text.")
        return self.batches.seal(batch.id, [error]).id


def _submission(**changes: Any) -> Submission:
    fields = {
        "model": "codes",
        "parameters": Parameters(confidence=0.5, classes=("qr_code", 1), visualize=True),
        "key": KEY,
        "priority": Priority.HIGH,
        "metadata": {"frame": 7},
        "webhook": HOOK,
        "webhook_events": ("completed",),
        "base_url": "https://sluice.example",
    }
    return Submission(**fields | changes)


def main() -> None:
    """Write the folder of this version; one that is there is replaced."""
    target = DATA / __version__
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder)) as url,
        redis.Redis.from_url(url) as client,
    ):
        written = Writer(client).write()
        client.save()
        shutil.copy(Path(folder) / "dump.rdb", target)
    entry = keys.Entry(name=KEY, sha256=keys.digest(API_KEY), max_backlog=50)
    (target / "keys.json").write_bytes(keys.dump([entry]))
    (target / "written.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
