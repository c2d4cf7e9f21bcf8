"""Fixtures of the contracts."""

import pytest

from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger


@pytest.fixture(params=["redis", "memory"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return RedisLedger(request.getfixturevalue("redis_client"), QueueSettings())
