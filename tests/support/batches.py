"""A ledger and its batches, for contract tests of both stores."""

import time
from dataclasses import dataclass

from sluice.batch import Batch, BatchSubmission
from sluice.ledger.batches import Batches
from sluice.ledger.predictions import Ledger
from sluice.prediction import Submission


@dataclass
class Both:
    """A ledger, and batches of its predictions."""

    ledger: Ledger
    batches: Batches

    def open(self, total: int, batch_id: str = "b", **fields: str) -> Batch:
        return self.batches.open(
            batch_id, BatchSubmission(**{"model": "codes", "total": total, **fields}), "d"
        )

    def add(self, *indexes: int, batch_id: str = "b", **fields: str) -> None:
        for index in indexes:
            self.ledger.create(
                f"{batch_id}-{index}",
                Submission(**{"model": "codes", "batch": batch_id, **fields}),
                "d",
                10,
            )

    def finish(self, count: int) -> None:
        for _ in range(count):
            claim = self.ledger.claim(f"w{time.monotonic_ns()}", 10)
            assert claim is not None
            self.ledger.succeed(claim, {}, {})

    def counts(self, batch_id: str = "b") -> dict[str, int]:
        return {
            status.value: count
            for status, count in self.batches.get(batch_id).counts.items()
            if count
        }
