"""The embedded stack's configuration, and the addresses of its parts."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluice.local.paths import IS_CHECKOUT, MODEL_REPOSITORY
from sluice.local.supervision.state import default_directory

#: The parts that run unless fewer are named.
METRICS_OF = "metrics of "
"""Begins the name of the port on which a process serves its metrics."""

ALL_PARTS = frozenset({"redis", "triton", "worker", "webhooks", "api"})
#: The parts that run only if they are named.
OPTIONAL_PARTS = frozenset({"ui"})


def default_models() -> Path:
    """`./model_repository`, or else the one of this checkout, or else `copied_models`."""
    local = Path("model_repository")
    if local.is_dir():
        return local.resolve()
    return MODEL_REPOSITORY if IS_CHECKOUT else copied_models(default_directory())


def copied_models(directory: Path, source: Path = MODEL_REPOSITORY) -> Path:
    """Return the model repository in a state directory, made as a copy of `source` if missing.

    A repository inside the installed package would lose its models when the package is upgraded.
    """
    target = directory / "model_repository"
    if not target.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="models-", dir=directory) as new:
            copy = Path(shutil.copytree(source, Path(new) / "copy"))
            try:
                copy.rename(target)
            except OSError:
                if not target.exists():  # else another command has made it by now
                    raise
    return target


@dataclass(frozen=True)
class StackConfig:
    """The settings of one embedded stack."""

    state: Path = field(default_factory=default_directory)
    """The state directory, for data and logs."""

    models: Path = field(default_factory=default_models)
    """Triton's model repository."""

    host: str = "127.0.0.1"
    """The host that the api listens on. Redis and Triton listen on 127.0.0.1 only."""

    port: int | None = None
    """The api's port.

    None: 8080, or any free port when 8080 is taken. 0: any free port, for every part.
    """

    workers: int = 1
    """The number of worker processes."""

    concurrency: int = 4
    """Predictions at a time in each worker."""

    redis_max_memory: str = "512mb"
    """Redis's `maxmemory`."""

    triton_env: Path | None = None
    """The folder of Triton's environment. None: the default one."""

    ui_env: Path | None = None
    """The folder of the page's environment. None: the default one."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to add for the api, the workers and the webhook sender."""

    parts: frozenset[str] = ALL_PARTS
    """The parts to run. Tests often need fewer than all."""

    @property
    def worker_names(self) -> list[str]:
        """The names of the worker processes; none without the part."""
        numbers = range(1, self.workers + 1) if "worker" in self.parts else ()
        return [f"worker-{number}" for number in numbers]

    @property
    def metered(self) -> list[str]:
        """The processes that serve metrics on a port of their own."""
        return self.worker_names + (["webhooks"] if "webhooks" in self.parts else [])


@dataclass(frozen=True)
class Addresses:
    """The addresses of the parts."""

    api: str
    """A URL."""

    redis: str
    """A URL, with the database's number."""

    triton_http: str
    """A URL."""

    triton_grpc: str
    """`host:port`, the form that gRPC clients take."""

    metrics: str
    """The URL of Triton's metrics."""

    ui: str | None = None
    """The URL of the page, if the stack has one."""
    process_metrics: Mapping[str, str] = field(default_factory=dict)
    """The URLs of the metrics of each worker and of the sender, by the process's name."""

    @classmethod
    def at(cls, host: str, ports: Mapping[str, int]) -> "Addresses":
        """The addresses for the api's `host`, and a port for each name of `ports.DEFAULTS`."""
        return cls(
            api=f"http://{host}:{ports['api']}",
            redis=f"redis://127.0.0.1:{ports['redis']}/0",
            triton_http=f"http://127.0.0.1:{ports['triton_http']}",
            triton_grpc=f"127.0.0.1:{ports['triton_grpc']}",
            metrics=f"http://127.0.0.1:{ports['metrics']}/metrics",
            ui=f"http://{host}:{ports['ui']}" if "ui" in ports else None,
            process_metrics={
                name.removeprefix(METRICS_OF): f"http://127.0.0.1:{port}/metrics"
                for name, port in ports.items()
                if name.startswith(METRICS_OF)
            },
        )
