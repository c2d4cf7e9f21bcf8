"""The embedded Triton: its folder of backends, its command line, and what it says of its models."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LocalStackError
from sluice.local.servers import probe
from sluice.local.servers.triton_env import TritonEnv
from sluice.local.supervision import reaper

OURS = Path(__file__).resolve().parents[1] / "backends"


@dataclass(frozen=True)
class TritonPorts:
    http: int
    grpc: int
    metrics: int


def prepare(directory: Path, env: TritonEnv) -> None:
    """Fill `directory` with the folders `backends` and `lib` for this environment; what was there is replaced.

    Raises LocalStackError when the environment lacks a file.
    """
    stub = env.server / "python_backend_stubs" / env.version / "triton_python_backend_stub"
    if not stub.exists():
        raise LocalStackError(
            f"{stub} is missing; remove {env.directory} and run `sluice setup` again"
        )
    for name in ("backends", "lib"):
        shutil.rmtree(directory / name, ignore_errors=True)
    python = directory / "backends" / "python"
    python.mkdir(parents=True)
    # Copies, for Triton refuses a link that leads out of its folder of backends.
    for path in (*(env.server / "backends" / "python").iterdir(), stub):
        if path.is_file():
            shutil.copy(path, python)
    for ours in OURS.iterdir():
        if ours.is_dir():
            shutil.copytree(
                ours,
                directory / "backends" / ours.name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
    (directory / "lib").mkdir()
    if env.libpython is not None:
        # A folder of its own: the one where it lies may hold other versions of what Triton brings with it.
        (directory / "lib" / env.libpython.name).symlink_to(env.libpython)


def command(
    env: TritonEnv, directory: Path, models: Path, ports: TritonPorts, shm_prefix: str
) -> list[str]:
    """The command line; `directory` is what `prepare` filled."""
    return [
        str(env.server / "bin" / "tritonserver"),
        f"--model-repository={models}",
        "--model-control-mode=explicit",  # as by default, all are loaded at the start, and more can be loaded later
        "--load-model=*",
        "--exit-on-error=false",  # one bad model leaves the others
        "--strict-readiness=false",
        f"--backend-directory={directory / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.grpc}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",  # for GPUs
        "--log-format=ISO8601",
        "--exit-timeout-secs=3",
    ]


def environment(env: TritonEnv, directory: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Its environment: `base` without what is Sluice's or another Python's."""
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith(("PYTHON", "SLUICE_", "LD_", "VIRTUAL_ENV"))
    }
    return kept | {
        # The stub finds its standard library and packages through the first `python3` on the path.
        "PATH": f"{env.directory / 'bin'}{os.pathsep}{base.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": f"{env.site_packages / 'nvidia_pytriton.libs'}{os.pathsep}{directory / 'lib'}",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OPENBLAS_NUM_THREADS": "1",  # numpy's own threads, one set per model, would only sit there
    }


def is_ready(http_port: int) -> Callable[[], bool]:
    """A check whether it takes requests; it does only when each model has been loaded or has failed to load."""
    return lambda: probe.status("127.0.0.1", http_port, "/v2/health/ready") == 200


def failed_models(http_port: int) -> dict[str, str]:
    """Why, for each model that did not load; nothing when Triton can't be asked."""
    try:
        index = probe.post("127.0.0.1", http_port, "/v2/repository/index")
    except (OSError, ValueError):
        return {}
    # A traceback follows the reason, and is in the log.
    reasons = {
        str(entry["name"]): str(entry.get("reason", "")).split("\n")[0]
        for entry in index
        if entry.get("state") != "READY"
    }
    return {name: reason or "not loaded" for name, reason in reasons.items()}


def lost_model(pid: int) -> str | None:
    """What is wrong when a model's process has died under the server `pid`, which never starts it again, nor says that it is
    not ready: each request to that model fails after a second."""
    dead = [
        process.pid
        for process in reaper.processes()
        if process.parent == pid and process.state == "Z"
    ]
    return f"lost the process of a model ({', '.join(map(str, dead))})" if dead else None
