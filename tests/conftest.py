"""What all tests share. Real servers are started once a session, on free ports, and stopped by their own process ids."""

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

ROOT = Path(__file__).parents[1]

# The same examples on every run: a machine that is slow today must not fail, and a failure must come again.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "sluice", deadline=None, derandomize=True, suppress_health_check=SLOW
)
hypothesis.settings.load_profile("sluice")


def free_port() -> int:
    """At random, and below the ports that Linux gives to whoever asks for any: nobody gets it before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis with an append-only file."""
    from sluice.local.servers.redis import find_server

    port = free_port()
    directory = tmp_path_factory.mktemp("redis")
    command = [
        str(find_server()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(directory),
        "--appendonly",
        "yes",
    ]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([*command, "--save", ""], stdout=log, stderr=log) as process,
    ):
        client = redis.Redis(port=port)
        until = time.monotonic() + 60
        while True:
            try:
                client.ping()
                break
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < until, (directory / "log").read_text()
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """A client of an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


# The reference results belong to no release of ours, so they lie beside the checkout or nowhere.
GOLDEN = Path(os.environ.get("SLUICE_GOLDEN", ROOT.parent / "shared" / "golden"))
NO_GOLDEN = (
    None
    if (GOLDEN / "golden.json").exists()
    else f"no reference results at {GOLDEN}; SLUICE_GOLDEN names another place"
)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Where the reference results are."""
    if NO_GOLDEN:
        pytest.skip(NO_GOLDEN)
    return GOLDEN
