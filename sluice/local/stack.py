"""The embedded stack as one thing: Redis, Triton, the api and workers, on this machine, by one call.

with Stack(StackConfig(state=directory, models=repository)) as stack:
    httpx.get(f"{stack.addresses.api}/v1/models")
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sluice.errors import LocalStackError
from sluice.local.servers import ports, probe, redis, triton, triton_env
from sluice.local.supervision import shm
from sluice.local.supervision.process import Spec
from sluice.local.supervision.state import State, default_directory
from sluice.local.supervision.supervisor import Kind, Supervisor, SupervisorEvent

ROOT = Path(__file__).resolve().parents[2]  # where the packages api and worker lie beside sluice
ALL_PARTS = frozenset({"redis", "triton", "worker", "webhooks", "api"})
START_TIMEOUT_S = 120.0
POLL_S = 0.05


def default_models() -> Path:
    """`./model_repository`, or the one beside the installed checkout."""
    here = Path("model_repository")
    return here.resolve() if here.is_dir() else ROOT / "model_repository"


@dataclass(frozen=True)
class StackConfig:
    """What to run. `port` is the api's: None for the usual one or a free one, 0 for any free one. `env` is added to the
    environment of the api, the workers and the sender of webhooks. `parts` is for tests that need less."""

    state: Path = field(default_factory=default_directory)
    models: Path = field(default_factory=default_models)
    host: str = "127.0.0.1"
    port: int | None = None
    workers: int = 1
    concurrency: int = 4
    redis_max_memory: str = "512mb"
    triton_env: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    parts: frozenset[str] = ALL_PARTS


@dataclass(frozen=True)
class Addresses:
    """URLs; `triton_grpc` is host:port, as its clients take it."""

    api: str
    redis: str
    triton_http: str
    triton_grpc: str
    metrics: str


class Stack:
    """Not thread-safe, but for `request_stop`. `tell` hears what happens, from other threads too."""

    def __init__(
        self, config: StackConfig, tell: Callable[[SupervisorEvent], None] = lambda event: None
    ) -> None:
        self.config = config
        self.state = State(config.state)
        self._tell = tell
        self._supervisor: Supervisor | None = None
        self._environment: triton_env.TritonEnv | None = None
        self._addresses: Addresses | None = None
        self._stop_requested = False
        self._writing = threading.Lock()

    @property
    def addresses(self) -> Addresses:
        """Where everything listens. Raises LocalStackError before `start`."""
        if self._addresses is None:
            raise LocalStackError("the stack has not been started")
        return self._addresses

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by name, now: redis, triton, worker-1 …, webhooks, api, and the guard that cleans up after a SIGKILL."""
        return self._supervisor.pids if self._supervisor else {}

    @property
    def stop_requested(self) -> bool:
        return self._stop_requested

    @property
    def shm_prefix(self) -> str:
        return self.state.shm_prefix

    def prepare(self) -> None:
        """Make what is slow to make, and only once: Triton's environment. `start` does it too.

        Raises LocalStackError when the configuration is wrong, or it can't be made.
        """
        self._check()
        if "triton" in self.config.parts:
            self._environment = triton_env.ensure(self.config.triton_env, self._progress)

    def start(self) -> None:
        """Start everything and return when all of it is ready, or when `request_stop` was called meanwhile.

        Raises LocalStackError, with nothing left running, when that can't be done.
        """
        self.prepare()
        lock = self.state.lock()
        try:
            for pid in self.state.end_leftovers():
                self._progress(f"ended process {pid}, left here by a stack that was killed")
            shm.remove(self.shm_prefix)
            # Who wants any port for the api has other stacks beside this one: any port for all parts, then.
            wanted: dict[str, int | None] = dict.fromkeys(
                ports.DEFAULTS, 0 if self.config.port == 0 else None
            )
            chosen = ports.choose(wanted | {"api": self.config.port}, self.config.host)
            for name, port in chosen.items():
                if (wanted | {"api": self.config.port})[name] is None and port != ports.DEFAULTS[
                    name
                ]:
                    self._progress(
                        f"port {ports.DEFAULTS[name]} is taken; {name} listens on {port}"
                    )
            self._addresses = Addresses(
                api=f"http://{self.config.host}:{chosen['api']}",
                redis=f"redis://127.0.0.1:{chosen['redis']}/0",
                triton_http=f"http://127.0.0.1:{chosen['triton_http']}",
                triton_grpc=f"127.0.0.1:{chosen['triton_grpc']}",
                metrics=f"http://127.0.0.1:{chosen['metrics']}/metrics",
            )
            self._supervisor = Supervisor(
                self.state.folder("logs"), self._hear, shm_prefix=self.shm_prefix, keep_open=[lock]
            )
            self._supervisor.start(self._specs(chosen))
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        if "triton" in self.config.parts and not self._stop_requested:
            for name, reason in triton.failed_models(chosen["triton_http"]).items():
                self._progress(
                    f"model {name} did not load: {reason}; more in {self.state.log('triton')}"
                )
        self._write()

    def run_until_stopped(self) -> None:
        """Return when `request_stop` has been called. Raises LocalStackError when the stack can't go on."""
        while not self._stop_requested and self._supervisor is not None:
            self._supervisor.check()
            time.sleep(POLL_S)

    def request_stop(self) -> None:
        """Make `start` and `run_until_stopped` return; a signal handler may call it."""
        self._stop_requested = True

    def stop(self) -> None:
        """End everything within 5 s; nothing stays, neither a process nor shared memory. May be called again."""
        if self._supervisor is not None:
            self._supervisor.stop()
        with self._writing:
            self._supervisor = None
            self.state.unlock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def description(self) -> dict[str, Any]:
        """What `--json` prints and `stack.json` holds."""
        pids = {"supervisor": os.getpid()} | self.pids
        return {
            "addresses": asdict(self.addresses),
            "pids": pids,
            "state": str(self.state.directory),
        }

    def _check(self) -> None:
        if "triton" in self.config.parts and not self.config.models.is_dir():
            raise LocalStackError(
                f"there is no model repository at {self.config.models}; give one with --models"
            )
        if unknown := self.config.parts - ALL_PARTS:
            raise LocalStackError(f"unknown parts: {', '.join(sorted(unknown))}")
        if self.config.workers < 1 or self.config.concurrency < 1:
            raise LocalStackError("--workers and --concurrency must be 1 or more")

    def _specs(self, chosen: Mapping[str, int]) -> list[Spec]:
        specs = []
        if "redis" in self.config.parts:
            specs.append(self._redis(chosen["redis"]))
        if self._environment is not None:
            specs.append(self._triton(chosen, self._environment))
        if "worker" in self.config.parts:
            specs += [
                self._worker(f"worker-{number}") for number in range(1, self.config.workers + 1)
            ]
        if "webhooks" in self.config.parts:
            specs.append(self._webhooks())
        if "api" in self.config.parts:
            specs.append(self._api(chosen["api"]))
        return specs

    def _redis(self, port: int) -> Spec:
        command = redis.command(
            redis.find_server(), port, self.state.folder("redis"), self.config.redis_max_memory
        )
        return Spec("redis", command, os.environ, redis.is_ready(port))

    def _triton(self, chosen: Mapping[str, int], environment: triton_env.TritonEnv) -> Spec:
        folder = self.state.folder("triton")
        triton.prepare(folder, environment)
        prefix = f"{self.shm_prefix}triton-"
        own_ports = triton.TritonPorts(
            chosen["triton_http"], chosen["triton_grpc"], chosen["metrics"]
        )
        return Spec(
            "triton",
            triton.command(environment, folder, self.config.models.resolve(), own_ports, prefix),
            triton.environment(environment, folder, os.environ),
            triton.is_ready(own_ports.http),
            cwd=folder,
            # When its turn comes nobody uses it any more, and it takes 3 s to unload a model that it is asked to end with.
            stop_signal=9,
            tier=1,
            clean=lambda: shm.remove(prefix),
            trouble=triton.lost_model,
        )

    def _worker(self, name: str) -> Spec:
        ready = self.state.folder("run") / f"{name}.ready"
        prefix = f"{self.shm_prefix}{name}-"
        own = {
            "SLUICE_WORKER_READY_FILE": str(ready),
            "SLUICE_WORKER_CONCURRENCY": str(self.config.concurrency),
            "SLUICE_TRITON_REGION_PREFIX": prefix,
        }

        def clean() -> None:
            ready.unlink(missing_ok=True)
            shm.remove(prefix)  # of a worker that was killed before Triton had a region open

        return Spec(
            name,
            [sys.executable, "-m", "worker"],
            self._env() | own,
            ready.exists,
            cwd=ROOT,
            grace_s=3.0,
            tier=2,
            clean=clean,
        )

    def _webhooks(self) -> Spec:
        ready = self.state.folder("run") / "webhooks.ready"
        return Spec(
            "webhooks",
            [sys.executable, "-m", "worker", "webhooks"],
            # What it has under way is given back when everything is stopped within 5 s.
            {"SLUICE_WEBHOOKS_GRACE_S": "2"}
            | self._env()
            | {"SLUICE_WEBHOOKS_READY_FILE": str(ready)},
            ready.exists,
            cwd=ROOT,
            grace_s=3.0,
            tier=2,
            clean=lambda: ready.unlink(missing_ok=True),
        )

    def _api(self, port: int) -> Spec:
        # A request that waits for a result is cut off when everything is stopped within 5 s.
        drain = {"SLUICE_API_DRAIN_S": os.environ.get("SLUICE_API_DRAIN_S", "1")}
        own = drain | {"SLUICE_API_HOST": self.config.host, "SLUICE_API_PORT": str(port)}
        return Spec(
            "api",
            [sys.executable, "-m", "api"],
            self._env() | own,
            lambda: probe.status(self.config.host, port, "/readyz") == 200,
            cwd=ROOT,
            grace_s=3.0,
            tier=2,
        )

    def _env(self) -> dict[str, str]:
        """The environment of the parts that are ours: the user's own, and where the others are."""
        # Each of them runs many requests on threads of its own, on cores that it shares with Triton.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        where = {
            "SLUICE_REDIS_URL": self.addresses.redis,
            "SLUICE_BLOBS_URL": self._blobs_url(),
            "SLUICE_TRITON_HTTP_URL": self.addresses.triton_http,
            "SLUICE_TRITON_GRPC_URL": self.addresses.triton_grpc,
        }
        return {**threads, **os.environ, **where, **self.config.env}

    def _blobs_url(self) -> str:
        """The stack's own Redis, unless the user names a bucket: another Redis of his is no part of this stack."""
        own = os.environ.get("SLUICE_BLOBS_URL", "")
        return own if own.startswith("s3://") else self.addresses.redis

    def _wait_ready(self) -> None:
        assert self._supervisor is not None
        end = time.monotonic() + START_TIMEOUT_S
        while not self._stop_requested and not self._supervisor.is_ready():
            if time.monotonic() > end:
                logs = self.state.folder("logs")
                raise LocalStackError(
                    f"the stack was not ready after {START_TIMEOUT_S:.0f} s; the logs are in {logs}"
                )
            time.sleep(POLL_S)

    def _progress(self, text: str) -> None:
        self._tell(SupervisorEvent(Kind.NOTE, "stack", text))

    def _hear(self, event: SupervisorEvent) -> None:
        self._tell(event)
        self._write()

    def _write(self) -> None:
        with self._writing:
            if self._supervisor is not None:
                self.state.write(self.description())
                self.state.remember(self.pids.values())
