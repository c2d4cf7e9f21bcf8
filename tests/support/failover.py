"""A primary, a replica and Sentinels on loopback, for tests of failovers."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from sluice.local.servers.redis import find_server
from tests.support.servers import free_port
from tests.support.waiting import until

MASTER = "main"
_DOWN_AFTER_MS = 1000


class Server:
    """One Redis with a port and a folder of its own, which may be killed and started again."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        self._directory = directory
        self._command = [str(find_server()), "--bind", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--save", "", "--appendonly", "yes", "--dir", str(directory)]
        self._command += ["--repl-diskless-sync-delay", "0", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it answers."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._command, *arguments], stdout=log, stderr=log)
        with redis.Redis(port=self.port) as client:
            until(lambda: _answers(client), what="a Redis")
            # Another test's server may have taken the port meanwhile.
            assert client.info("server")["process_id"] == self.pid

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port, socket_timeout=10)


@dataclass(frozen=True)
class Pair:
    """Two servers. The first is the primary at the start."""

    servers: tuple[Server, Server]

    @property
    def ports(self) -> tuple[int, int]:
        return self.servers[0].port, self.servers[1].port

    def client(self, index: int) -> "redis.Redis":
        return self.servers[index].client()

    def demote(self, index: int) -> None:
        """Make the other server the primary, and this one its replica, under open connections."""
        with self.client(1 - index) as new, self.client(index) as old:
            new.replicaof("NO", "ONE")
            old.replicaof("127.0.0.1", str(self.ports[1 - index]))

    def until_replicating(self, index: int = 0) -> None:
        """Wait until the server at `index` has a replica that follows it."""
        with self.client(index) as primary:
            until(lambda: _has_replica(primary), what="a replica")


@contextlib.contextmanager
def pair(directory: Path, *arguments: str) -> Iterator[Pair]:
    """A primary and a replica that follows it."""
    first = Server(directory / "first", *arguments)
    second = Server(directory / "second", *arguments)
    try:
        first.start()
        second.start("--replicaof", "127.0.0.1", str(first.port))
        both = Pair((first, second))
        both.until_replicating()
        yield both
    finally:
        second.kill()
        first.kill()


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

    def until_whole(self) -> None:
        """Wait until the primary has its replica, and each Sentinel knows it.

        The primary may change meanwhile: a busy machine looks like a dead one to a Sentinel.
        """

        def whole() -> bool:
            with redis.Redis(port=self.primary(), socket_timeout=10) as primary:
                return _has_replica(primary)

        until(whole, 120, what="a replica of the primary")
        self.until_known()

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
        until(self._begin_failover, timeout_s, every_s=0.1, what="a failover that may begin")
        return self.until_elsewhere(before, timeout_s)

    def until_elsewhere(self, port: int, timeout_s: float = 60) -> float:
        """Wait until a Sentinel names another primary than the one at `port`. Returns the time."""
        until(lambda: self.primary() != port, timeout_s, every_s=0.02, what="a new primary")
        return time.monotonic()

    def _begin_failover(self) -> bool:
        with redis.Redis(port=self.sentinels[0], socket_timeout=10) as sentinel:
            try:
                sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)
            except redis.exceptions.ResponseError:  # another one is under way, or no replica is fit
                return False
        return True


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


def _has_replica(primary: "redis.Redis") -> bool:
    try:
        return bool(primary.info("replication").get("slave0", {}).get("state") == "online")
    except redis.exceptions.RedisError:
        return False
