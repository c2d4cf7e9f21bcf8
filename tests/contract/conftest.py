"""Fixtures of the contracts."""

import os
from collections.abc import Iterator

import pytest

from sluice.ledger.predictions import Ledger, RedisLedger
from sluice.settings import QueueSettings
from tests.fakes.ledger import MemoryLedger
from tests.support import s3


@pytest.fixture(params=["redis", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    """The place in which the tested store keeps its data."""
    return str(request.param)


@pytest.fixture(params=["redis", "memory"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return RedisLedger(request.getfixturevalue("redis_client"), QueueSettings())


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Server]:
    """A store with the protocol of S3."""
    server = s3.Server()
    yield server
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of `server` in the environment, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
