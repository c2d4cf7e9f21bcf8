"""An end that too few replicas confirmed may be undone, and the next attempt needs the image."""

from collections.abc import Mapping
from typing import Any

from sluice.blobs.store import input_key
from sluice.errors import ReplicasMissing
from sluice.prediction import Claim, Status
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.unit.worker.conftest import World
from worker.runner import Runner
from worker.watchdog import LeaseWatchdog


class _Alone(MemoryLedger):
    """The change is made, and no replica has it."""

    def succeed(
        self, claim: Claim, output: Mapping[str, Any], metrics: Mapping[str, float], logs: str = ""
    ) -> None:
        super().succeed(claim, output, metrics, logs)
        raise ReplicasMissing("too few replicas")


def test_the_image_stays_and_the_next_prediction_runs(world: World) -> None:
    world.ledger = _Alone()
    world.submit()
    runner = Runner(
        world.ledger,
        world.blobs,
        world.pipeline,
        LeaseWatchdog(world.ledger, lease_s=10),
        QueueSettings(),
        worker="host/1",
    )
    assert runner.run_one()
    assert world.ledger.get("a").status is Status.SUCCEEDED
    assert world.blobs.get(input_key("a", "")) is not None
    assert not runner.run_one()
