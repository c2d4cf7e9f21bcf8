"""k8s/base/redis-start.sh: Redis takes any password, and the list of processes shows none."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from sluice.local.servers.redis import find_server
from sluice.redisio.connection import connect
from sluice.settings import Settings
from sluice.settings.redis import RedisSettings
from tests.support.paths import ROOT
from tests.support.servers import free_port

pytestmark = pytest.mark.integration

BASE = ROOT / "k8s" / "base"


@contextmanager
def _redis(folder: Path, password: str) -> Iterator[tuple[int, int]]:
    """Port and process of a Redis that is started as in a pod."""
    port = free_port()
    config = (BASE / "redis.conf").read_text()
    config = config.replace("/data", str(folder)).replace("/etc/redis", str(folder))
    # By itself Redis soon writes a title over its arguments. Here they stay to be looked at.
    config += f"bind 127.0.0.1\nport {port}\nset-proc-title no\n"
    (folder / "redis.conf").write_text(config)
    (folder / "size.conf").write_text("maxmemory 64mb\n")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "redis-server").symlink_to(find_server())
    env = {"PATH": f"{bin_folder}:{os.defpath}", "REDISCLI_AUTH": password}
    command = [shutil.which("sh") or "sh", str(BASE / "redis-start.sh"), str(folder / "redis.conf")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=log) as process,
    ):
        try:
            yield port, process.pid
        finally:
            process.terminate()


@pytest.mark.parametrize(
    "password", ["0123456789abcdef", "a/b@c#d%e:f\"g'h\\i $j `k` $(l)", "\\x41 \t é€"]
)
def test_redis_takes_the_password_and_no_argument_shows_it(tmp_path: Path, password: str) -> None:
    with _redis(tmp_path, password) as (port, pid):
        url = f"redis://127.0.0.1:{port}/0"
        settings = Settings(redis=RedisSettings.model_validate({"url": url, "password": password}))
        with connect(settings.redis_address(5)) as client:
            until = time.monotonic() + 30
            while True:
                try:
                    assert client.ping()
                    break
                except redis.exceptions.ConnectionError:
                    assert time.monotonic() < until, (tmp_path / "log").read_text()
                    time.sleep(0.02)
            assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("x")
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()  # the shell has become Redis
        assert arguments.startswith(b"redis-server\0")
        assert password.encode() not in arguments
        assert b"\\x" not in arguments
