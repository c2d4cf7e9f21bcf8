"""A primary, a replica and Sentinels on loopback, for tests of failovers."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis

from sluice.local.servers.redis import find_server
from tests.support.servers import free_port, redis_server
from tests.support.waiting import until

MASTER = "main"
_DOWN_AFTER_MS = 1000


@dataclass(frozen=True)
class Pair:
    """Two servers. The first is the primary at the start."""

    ports: tuple[int, int]
    pids: tuple[int, int]

    def client(self, index: int) -> "redis.Redis":
        return redis.Redis(port=self.ports[index], socket_timeout=10)

    def demote(self, index: int) -> None:
        """Make the other server the primary, and this one its replica, under open connections."""
        with self.client(1 - index) as new, self.client(index) as old:
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", str(self.ports[1 - index]))

    def until_replicating(self, index: int = 0) -> None:
        """Wait until the server at `index` has a replica that follows it."""
        with self.client(index) as primary:
            until(
                lambda: primary.info("replication").get("slave0", {}).get("state") == "online",
                what="a replica",
            )


@contextlib.contextmanager
def pair(directory: Path, *arguments: str) -> Iterator[Pair]:
    """A primary and a replica that follows it."""
    (directory / "first").mkdir(parents=True)
    (directory / "second").mkdir()
    quick = ("--repl-diskless-sync-delay", "0", *arguments)
    with redis_server(directory / "first", *quick) as first:
        port = int(urlsplit(first).port or 0)
        follow = ("--replicaof", "127.0.0.1", str(port))
        with redis_server(directory / "second", *quick, *follow) as second:
            ports = (port, int(urlsplit(second).port or 0))
            both = Pair(ports, (_pid(ports[0]), _pid(ports[1])))
            both.until_replicating()
            yield both


@dataclass(frozen=True)
class Watched:
    """A pair that Sentinels watch."""

    pair: Pair
    sentinels: tuple[int, ...]
    """The ports of the Sentinels."""

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}/0"

    def primary(self) -> int:
        """The port of the primary, as a Sentinel says it."""
        with redis.Redis(port=self.sentinels[0], socket_timeout=10) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(MASTER)[1])

    def until_known(self) -> None:
        """Wait until each Sentinel knows the replica and its peers, and so can fail over."""

        def known() -> bool:
            for port in self.sentinels:
                with redis.Redis(port=port, socket_timeout=10) as sentinel:
                    state = sentinel.sentinel_master(MASTER)
                if (
                    state["num-slaves"] < 1
                    or state["num-other-sentinels"] < len(self.sentinels) - 1
                    or "s_down" in state["flags"]
                ):
                    return False
            return True

        until(known, what="Sentinels that know each other")

    def fail_over(self, timeout_s: float = 60) -> float:
        """Have a Sentinel choose the other server. Returns the time, once all name it."""
        before = self.primary()
        end = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(redis.exceptions.ResponseError):  # another one is under way
                with redis.Redis(port=self.sentinels[0], socket_timeout=10) as sentinel:
                    sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)
                break
            assert time.monotonic() < end, "no failover was possible"
            time.sleep(0.1)
        until(lambda: self.primary() != before, timeout_s, every_s=0.02, what="a failover")
        return time.monotonic()


@contextlib.contextmanager
def watched(directory: Path, *arguments: str, count: int = 3) -> Iterator[Watched]:
    """A pair and so many Sentinels, which fail over about a second after a primary's end."""
    with pair(directory, *arguments) as both, contextlib.ExitStack() as stack:
        ports = tuple(
            stack.enter_context(_sentinel(directory / f"sentinel-{number}", both.ports[0], count))
            for number in range(count)
        )
        all_parts = Watched(both, ports)
        all_parts.until_known()
        yield all_parts


@contextlib.contextmanager
def _sentinel(directory: Path, primary: int, count: int) -> Iterator[int]:
    directory.mkdir()
    port = free_port()
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {primary} {count // 2 + 1}\n"
        f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {MASTER} 2000\n"
        f"sentinel parallel-syncs {MASTER} 1\n"
    )
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            [str(find_server()), str(config), "--sentinel"], stdout=log, stderr=log
        ) as process,
    ):
        try:
            with redis.Redis(port=port) as client:
                until(lambda: _answers(client), what="a Sentinel")
            yield port
        finally:
            process.terminate()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


def _pid(port: int) -> int:
    with redis.Redis(port=port) as client:
        return int(client.info("server")["process_id"])
