"""The parts of the embedded stack, each described as a process to run."""

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sluice.local.config import METRICS_OF, Addresses, StackConfig
from sluice.local.paths import CHECKOUT
from sluice.local.servers import hangs, probe, redis, triton, ui_env
from sluice.local.servers.triton_env import TritonEnv
from sluice.local.supervision import shm
from sluice.local.supervision.process import Spec
from sluice.local.supervision.state import StateDirectory


class Parts:
    """Describes the processes of one stack. `ports` holds a port for each server."""

    def __init__(
        self,
        config: StackConfig,
        state: StateDirectory,
        ports: Mapping[str, int],
        addresses: Addresses,
    ) -> None:
        self._config = config
        self._state = state
        self._ports = ports
        self._addresses = addresses

    def specs(self, environment: TritonEnv | None, ui_python: Path | None = None) -> list[Spec]:
        """The processes of all parts that the configuration names.

        Without `environment` there is no Triton, and without `ui_python` no page.
        Raises LocalStackError when a server is missing.
        """
        specs = []
        if "redis" in self._config.parts:
            specs.append(self._redis())
        if environment is not None:
            specs.append(self._triton(environment))
        if "worker" in self._config.parts:
            specs += [self._worker(name) for name in self._config.worker_names]
        if "webhooks" in self._config.parts:
            specs.append(self._webhooks())
        if "api" in self._config.parts:
            specs.append(self._api())
        if ui_python is not None:
            specs.append(self._ui(ui_python))
        return specs

    def _redis(self) -> Spec:
        port = self._ports["redis"]
        folder = self._state.folder("redis")
        command = redis.command(redis.find_server(), port, folder, self._config.redis_max_memory)
        return Spec("redis", command, os.environ, redis.is_ready(port))

    def _triton(self, environment: TritonEnv) -> Spec:
        folder = self._state.folder("triton")
        triton.prepare(folder, environment)
        prefix = f"{self._state.shm_prefix}triton-"
        ports = triton.TritonPorts(
            self._ports["triton_http"], self._ports["triton_grpc"], self._ports["metrics"]
        )
        watch = hangs.HangWatch(hangs.stuck_after_s(self._env()), hangs.reader(ports.metrics))
        return Spec(
            "triton",
            triton.command(environment, folder, self._config.models.resolve(), ports, prefix),
            triton.environment(environment, folder, os.environ),
            triton.is_ready(ports.http),
            cwd=folder,
            # No client is left by then. An orderly end would take 3 s to unload the models.
            stop_signal=signal.SIGKILL,
            tier=1,
            clean=lambda: shm.remove(prefix),
            trouble=lambda pid: triton.lost_model(pid) or watch.trouble(pid),
        )

    def _worker(self, name: str) -> Spec:
        ready_file = self._state.folder("run") / f"{name}.ready"
        prefix = f"{self._state.shm_prefix}{name}-"
        settings = {
            "SLUICE_WORKER_READY_FILE": str(ready_file),
            "SLUICE_WORKER_CONCURRENCY": str(self._config.concurrency),
            "SLUICE_TRITON_REGION_PREFIX": prefix,
        }

        def clean() -> None:
            ready_file.unlink(missing_ok=True)
            # A worker that is killed early leaves a region that Triton never opened.
            shm.remove(prefix)

        return Spec(
            name,
            [sys.executable, "-m", "worker"],
            self._env() | settings | self._metrics(name),
            ready_file.exists,
            cwd=CHECKOUT,
            grace_s=3.0,
            tier=2,
            clean=clean,
        )

    def _webhooks(self) -> Spec:
        ready_file = self._state.folder("run") / "webhooks.ready"
        # The whole stack stops within 5 s. The sender gives back the deliveries under way.
        grace = {"SLUICE_WEBHOOKS_GRACE_S": "2"}
        return Spec(
            "webhooks",
            [sys.executable, "-m", "worker", "webhooks"],
            grace
            | self._env()
            | {"SLUICE_WEBHOOKS_READY_FILE": str(ready_file)}
            | self._metrics("webhooks"),
            ready_file.exists,
            cwd=CHECKOUT,
            grace_s=3.0,
            tier=2,
            clean=lambda: ready_file.unlink(missing_ok=True),
        )

    def _api(self) -> Spec:
        host, port = self._config.host, self._ports["api"]
        settings = {
            # The whole stack stops within 5 s.
            "SLUICE_API_DRAIN_S": os.environ.get("SLUICE_API_DRAIN_S", "1"),
            "SLUICE_API_LINGER_S": os.environ.get("SLUICE_API_LINGER_S", "0.5"),
            "SLUICE_API_HOST": host,
            "SLUICE_API_PORT": str(port),
        }
        return Spec(
            "api",
            [sys.executable, "-m", "api"],
            self._env() | settings,
            lambda: probe.status(host, port, "/readyz") == 200,
            cwd=CHECKOUT,
            grace_s=3.0,
            tier=2,
        )

    def _ui(self, python: Path) -> Spec:
        host, port = self._config.host, self._ports["ui"]
        packages, temporary = self._state.folder("ui-packages"), self._state.folder("ui-uploads")
        ui_env.link_packages(packages)

        def clean() -> None:
            # A page that is killed leaves its uploads.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(exist_ok=True)

        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        settings = {
            "SLUICE_UI_API_URL": self._addresses.api,
            "SLUICE_UI_HOST": host,
            "SLUICE_UI_PORT": str(port),
            "TMPDIR": str(temporary),
        }
        return Spec(
            "ui",
            [str(python), "-m", "ui"],
            kept | dict(self._config.env) | settings,
            lambda: probe.status(host, port, "/healthz") == 200,
            cwd=packages,
            grace_s=3.0,
            tier=3,
            clean=clean,
        )

    def _metrics(self, name: str) -> dict[str, str]:
        """The settings for a process's metrics, which only this machine reads."""
        port = self._ports[f"{METRICS_OF}{name}"]
        return {"SLUICE_METRICS_HOST": "127.0.0.1", "SLUICE_METRICS_PORT": str(port)}

    def _env(self) -> dict[str, str]:
        """The environment of Sluice's own processes: the user's, and the parts' addresses."""
        # Each process runs its requests on threads of its own, on cores that Triton shares.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        addresses = {
            "SLUICE_REDIS_URL": self._addresses.redis,
            "SLUICE_BLOBS_URL": self._blobs_url(),
            "SLUICE_TRITON_HTTP_URL": self._addresses.triton_http,
            "SLUICE_TRITON_GRPC_URL": self._addresses.triton_grpc,
        }
        return {**threads, **_without_access(os.environ), **addresses, **self._config.env}

    def _blobs_url(self) -> str:
        """The stack's own Redis, or the bucket that the user's environment names.

        A second Redis in the user's environment is no part of this stack.
        """
        url = os.environ.get("SLUICE_BLOBS_URL", "")
        return url if url.startswith("s3://") else self._addresses.redis


def _without_access(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without the passwords and TLS of another Redis."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SLUICE_REDIS_", "SLUICE_BLOBS_REDIS_"))
        or name.endswith("_TIMEOUT_S")
    }
