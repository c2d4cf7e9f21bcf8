"""The embedded Triton: its folder of backends, its command line, and the state of its models."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LocalStackError
from sluice.local.paths import BACKENDS
from sluice.local.servers import probe
from sluice.local.servers.triton_env import TritonEnv
from sluice.local.supervision import reaper

#: The packages that the steps of ensembles import; see `worker/steps.py`.
STEP_PACKAGES = ("sluice", "worker", "cv2", "PIL", "anyascii", "pymupdf_fonts")
#: Folders beside a package with the libraries that came in its wheel.
WHEEL_LIBRARIES = {"cv2": ("opencv_python_headless.libs",), "PIL": ("pillow.libs",)}


@dataclass(frozen=True)
class TritonPorts:
    """The ports that one Triton listens on."""

    http: int
    grpc: int
    metrics: int


def prepare(directory: Path, env: TritonEnv) -> None:
    """Fill `directory` with the folders `backends` and `lib` for this environment.

    Older folders of these names are replaced. Raises LocalStackError when the environment lacks a
    file.
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
    # Triton refuses links that lead out of its folder of backends. Hence copies.
    for path in (*(env.server / "backends" / "python").iterdir(), stub):
        if path.is_file():
            shutil.copy(path, python)
    for backend in BACKENDS.iterdir():
        if backend.is_dir():
            shutil.copytree(
                backend,
                directory / "backends" / backend.name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
    _link_packages(python)
    (directory / "lib").mkdir()
    if env.libpython is not None:
        # A folder for this file alone: its own folder may hold libraries that Triton brings too.
        (directory / "lib" / env.libpython.name).symlink_to(env.libpython)


def _link_packages(directory: Path) -> None:
    """Give Triton's Python the packages of the steps of ensembles, those of this environment.

    `directory` is that of Triton's Python backend, which Triton's Python searches last. Both
    environments have the same Python. The rest of this one stays out: its numpy is another.
    If a package is missing, all models but ensembles load.
    """
    for name in STEP_PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        package = Path(spec.submodule_search_locations[0])
        (directory / name).symlink_to(package)
        for wheel in WHEEL_LIBRARIES.get(name, ()):
            if (libraries := package.with_name(wheel)).is_dir():
                (directory / wheel).symlink_to(libraries)


def command(
    env: TritonEnv, directory: Path, models: Path, ports: TritonPorts, shm_prefix: str
) -> list[str]:
    """The command line. `directory` is the folder that `prepare` has filled."""
    return [
        str(env.server / "bin" / "tritonserver"),
        f"--model-repository={models}",
        "--model-control-mode=explicit",  # models can be loaded later too
        "--load-model=*",  # all models are loaded at the start
        "--exit-on-error=false",  # one bad model does not stop the others
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
        "--pinned-memory-pool-byte-size=0",  # only GPUs use this pool
        "--log-format=ISO8601",
        "--exit-timeout-secs=3",
    ]


def environment(env: TritonEnv, directory: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment variables: `base` without those of Sluice and of the current Python."""
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith(("PYTHON", "SLUICE_", "LD_", "VIRTUAL_ENV"))
    }
    return kept | {
        # The stub finds its standard library and packages by the first `python3` on the path.
        "PATH": f"{env.directory / 'bin'}{os.pathsep}{base.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": os.pathsep.join(
            map(str, (env.site_packages / "nvidia_pytriton.libs", directory / "lib"))
        ),
        "PYTHONUNBUFFERED": "1",
        "NPY_PROMOTION_STATE": "weak",  # numpy 1 computes in the types of numpy 2, as workers do
        "CUDA_VISIBLE_DEVICES": "-1",
        "OPENBLAS_NUM_THREADS": "1",  # otherwise numpy starts idle threads for each model
        "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime would report its use to its maker
    }


def is_ready(http_port: int) -> Callable[[], bool]:
    """A check that Triton takes requests: each model has been loaded, or has failed to load."""
    return lambda: probe.status("127.0.0.1", http_port, "/v2/health/ready") == 200


def failed_models(http_port: int) -> dict[str, str]:
    """The reason for each model that did not load, by name. Empty when Triton does not answer."""
    try:
        index = probe.post("127.0.0.1", http_port, "/v2/repository/index")
    except (OSError, ValueError):
        return {}
    # The reason is the first line. The traceback below is in the log too.
    reasons = {
        str(entry["name"]): str(entry.get("reason", "")).split("\n")[0]
        for entry in index
        if entry.get("state") != "READY" and not entry["name"].startswith(".")
    }
    return {name: reason or "not loaded" for name, reason in reasons.items()}


def lost_model(pid: int) -> str | None:
    """The trouble of the server `pid` when the process of one of its models has died, or None.

    Triton does not restart that process, and still says that it is ready. Each request to the
    model fails after a second.
    """
    dead = [process.pid for process in reaper.children(pid) if process.state == "Z"]
    return f"lost the process of a model ({', '.join(map(str, dead))})" if dead else None
