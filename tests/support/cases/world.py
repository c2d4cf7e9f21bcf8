"""The processes of one case: Redis as its set-up says, the parts of Sluice, and proxies."""

import asyncio
import os
import random
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import redis

from sluice.local.config import Addresses
from tests.chaos.proxy import Proxy
from tests.support import certificates
from tests.support.paths import ROOT
from tests.support.redis_servers import Server, find, servers
from tests.support.servers import free_port, redis_process
from tests.support.waiting import until

PARTS = {
    "api": ["-m", "api"],
    "worker": ["-m", "worker"],
    "keeper": ["-m", "worker", "keeper"],
    "webhooks": ["-m", "worker", "webhooks"],
}
#: A cluster's node listens 10,000 above its port too, which must be no ephemeral port either.
_BELOW = 22_000
_START_S = 180.0


class World:
    """All that runs for one case. `with_world` starts and ends it."""

    def __init__(self, setup: dict[str, Any], triton: Addresses, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self.accepted: list[str] = []
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self._triton = triton
        self._ports: dict[str, int] = {"port": free_port(), "api": free_port()}
        self._admins: list[redis.Redis] = []
        self._switched = False
        host = setup.get("host", "127.0.0.1")
        self.api = f"http://{f'[{host}]' if ':' in host else host}:{self._ports['api']}"
        self.to_triton: Proxy | None = None

    def log(self, part: str) -> str:
        path = self.folder / f"{part}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def readyz(self) -> httpx.Response | None:
        try:
            return httpx.get(f"{self.api}/readyz", timeout=30)
        except httpx.HTTPError:
            return None

    def redis(self, number: int, command: list[str]) -> object:
        execute: Any = self._admins[number].execute_command
        return execute(*(self.fill(word) for word in command))

    def switch(self) -> None:
        """Lead new connections through the proxy to the second Redis."""
        self._switched = True

    def swallow(self) -> None:
        """Let vanish what the open connections to Triton carry; new ones work."""
        assert self.to_triton is not None
        self.to_triton.hole(random.Random(0), 1.0)
        self.to_triton.heal_hole()

    def revive(self) -> None:
        """Start the parts again that have ended, as an orchestrator does."""
        for name in self.setup.get("parts", PARTS):
            if name not in self.parts or self.parts[name].poll() is not None:
                self._start_part(name)

    def fill(self, text: str) -> str:
        for name, value in {**self._ports, "dir": self.folder}.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def peak_mb(self) -> float:
        """The most memory that the worker has held."""
        status = Path(f"/proc/{self.parts['worker'].pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024

    def start(self, stack: ExitStack) -> None:
        certificates.write(self.folder)
        proxies = stack.enter_context(_proxies())
        for number, redis_setup in enumerate(self.setup.get("redis", [{"version": "7"}])):
            self._start_redis(stack, number, redis_setup, proxies)
        self._ports["proxy"] = proxies(
            lambda: ("127.0.0.1", self._ports["redis2" if self._switched else "redis"])
        )[1]
        there = urlsplit(f"//{self._triton.triton_grpc}")
        self.to_triton, self._ports["triton"] = proxies(
            lambda: (there.hostname or "", there.port or 0)
        )
        stack.callback(self._stop_parts)
        self.revive()
        until(self._has_started, _START_S, what="an answer of the api, or its end")

    def _start_redis(
        self, stack: ExitStack, number: int, setup: dict[str, Any], proxies: "_Proxies"
    ) -> None:
        server = server_for(setup)
        assert server is not None
        arguments = [self.fill(word) for word in setup.get("arguments", [])]
        if server.version < (7,):
            # The default of Redis 7, which the cases mean.
            arguments += ["--acl-pubsub-default", "resetchannels"]
        name = "redis" if number == 0 else f"redis{number + 1}"
        folder = self.folder / name
        folder.mkdir()
        port = self._ports["port"] if "--tls-port" in arguments else free_port(_BELOW)
        self._ports[name] = port
        if "--tls-port" not in arguments:
            arguments += ["--port", str(port)]
        elif not server.has_tls:
            arguments = _without_tls(arguments, proxies)
        admin = redis.Redis(port=port, password=self.setup.get("password"), **self._tls(setup))
        stack.enter_context(redis_process(server.path, folder, admin, *arguments))
        self._admins.append(admin)
        for command in setup.get("commands", []):
            try:
                self.redis(number, command)
            except redis.exceptions.ResponseError:
                # An older server may lack it, as ADDSLOTSRANGE: its cluster is then without slots.
                if server.is_a(f"Redis {setup['version']}"):
                    raise

    def _tls(self, setup: dict[str, Any]) -> dict[str, Any]:
        if not setup.get("tls"):
            return {}
        files = {"ca_certs": "ca.pem", "certfile": "client.pem", "keyfile": "client.key"}
        paths = {f"ssl_{name}": str(self.folder / file) for name, file in files.items()}
        return {"ssl": True, "host": "127.0.0.1", **paths}

    def _start_part(self, name: str) -> None:
        settings = {
            "SLUICE_REDIS_URL": self.fill(self.setup.get("url", "redis://127.0.0.1:{redis}/0")),
            "SLUICE_TRITON_HTTP_URL": self._triton.triton_http,
            "SLUICE_TRITON_GRPC_URL": f"127.0.0.1:{self._ports['triton']}",
            "SLUICE_API_PORT": str(self._ports["api"]),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        settings |= {key: self.fill(value) for key, value in self.setup.get("env", {}).items()}
        settings |= self.setup.get("env_of", {}).get(name, {})
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                [sys.executable, *PARTS[name]],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
            )

    def _has_started(self) -> bool:
        """True once the api answers, or has ended."""
        if self.parts["api"].poll() is not None:
            return True
        try:
            return httpx.get(f"{self.api}/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def _stop_parts(self) -> None:
        for process in self.parts.values():
            process.terminate()
        for process in self.parts.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def with_world(setup: dict[str, Any], triton: Addresses, folder: Path) -> Iterator[World]:
    """The processes of a set-up, on the Triton of `triton`."""
    world = World(setup, triton, folder)
    with ExitStack() as stack:
        world.start(stack)
        yield world


def server_for(setup: dict[str, Any]) -> Server | None:
    """The server that a case asks for; else one of another version, with TLS if it needs that."""
    tls = bool(setup.get("tls"))
    wanted = find(f"Redis {setup.get('version', '7')}", tls=tls)
    others = sorted(servers(), key=lambda server: tls and not server.has_tls)
    return wanted or next(iter(others), None)


def lacking(setup: dict[str, Any]) -> str | None:
    """The reason why the set-up can't be started here."""
    if all(server_for(one) for one in setup.get("redis", [])):
        return None
    return "no redis-server is found"


def _without_tls(arguments: list[str], proxies: "_Proxies") -> list[str]:
    """The arguments of a Redis that has no TLS, behind a proxy that has it."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    tls = {name: values.pop(name) for name in list(values) if name.startswith("--tls-")}
    port = free_port()
    proxies(lambda: ("127.0.0.1", port), int(tls["--tls-port"]), certificates.server_context(tls))
    values["--port"] = str(port)
    return [word for pair in values.items() for word in pair]


class _Proxies(Protocol):
    def __call__(
        self,
        target: Callable[[], tuple[str, int]],
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[Proxy, int]: ...


@contextmanager
def _proxies() -> Iterator[_Proxies]:
    """A function that starts a proxy to a place, on an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made: list[Proxy] = []

    def make(
        target: Callable[[], tuple[str, int]],
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[Proxy, int]:
        proxy = Proxy("case", target)
        made.append(proxy)
        starting = proxy.start(port, tls)
        return proxy, asyncio.run_coroutine_threadsafe(starting, loop).result()

    try:
        yield make
    finally:
        for proxy in made:
            asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
