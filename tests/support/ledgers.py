"""Ledgers for contract tests, and short ways to a claim."""

import uuid

import pytest

from sluice.ledger.answers import Swept
from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.prediction import Claim, Problem, Submission
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger

PROBLEM = Problem(code="not_an_image", message="It is none.")


def limited(kind: str, request: pytest.FixtureRequest, limits: QueueSettings) -> Ledger:
    """A ledger in `memory` or in `redis`, with the limits."""
    return (
        MemoryLedger(limits)
        if kind == "memory"
        else RedisLedger(request.getfixturevalue("redis_client"), limits)
    )


def lapse(ledger: Ledger, *, alone: bool = False) -> Swept:
    """Let a worker claim a prediction and die; returns the sweep's result."""
    assert ledger.claim(uuid.uuid4().hex, -1, alone=alone) is not None
    return ledger.sweep()


def claimed(ledger: Ledger) -> Claim:
    """A claim on a new prediction, `a`."""
    ledger.create("a", Submission(model="codes"))
    claim = ledger.claim("w1", 10)
    assert claim is not None
    return claim
