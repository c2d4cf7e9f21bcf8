"""Fixtures of all tests. A real server is started once a session, on a free port."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.support.paths import GOLDEN, NO_GOLDEN
from tests.support.servers import redis_server

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import ONNX Runtime before Sluice

# Examples are the same on every run, and may take any time: a slow machine fails no test, and a
# failure comes again.
hypothesis.settings.register_profile(
    "sluice",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("sluice")


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of asynchronous tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis with an append-only file."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """A client of an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the reference results."""
    if NO_GOLDEN:
        pytest.skip(NO_GOLDEN)
    return GOLDEN
