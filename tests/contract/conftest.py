"""Fixtures of the contracts."""

import pytest

from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger


@pytest.fixture(params=["redis", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    """The place in which the tested store keeps its data."""
    return str(request.param)


@pytest.fixture(params=["redis", "memory"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return RedisLedger(request.getfixturevalue("redis_client"), QueueSettings())
