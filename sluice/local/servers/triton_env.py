"""Triton's own virtual environment: the server from the nvidia-pytriton wheel, ONNX Runtime and OpenVINO.

It is apart from Sluice's, as Triton has an image of its own elsewhere: its Python backend is built for numpy 1.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LocalStackError

REQUIREMENTS = Path(__file__).with_name("triton.txt")
VERSIONS = ((3, 11), (3, 12), (3, 13))
GLIBC = (2, 35)  # what the wheel was built for
STAMP = "sluice-stamp"
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TritonEnv:
    """An environment that is ready. `libpython` is what the stub needs from outside the wheel, None when it brings its own."""

    directory: Path
    libpython: Path | None

    @property
    def version(self) -> str:
        return f"{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def site_packages(self) -> Path:
        return self.directory / "lib" / f"python{self.version}" / "site-packages"

    @property
    def server(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"


def default_directory() -> Path:
    """Beside the environment that runs this (`.venv` → `.venv-triton`), or where SLUICE_LOCAL_TRITON_ENV says."""
    chosen = os.environ.get("SLUICE_LOCAL_TRITON_ENV")
    return Path(chosen).expanduser() if chosen else Path(f"{sys.prefix}-triton")


def ensure(directory: Path | None = None, progress: Progress = lambda line: None) -> TritonEnv:
    """Make the environment unless it is there already; `progress` is told each step.

    Raises LocalStackError when this machine can't run it, or when it can't be installed, saying what to do.
    """
    check_platform()
    libpython = find_libpython()
    directory = (directory or default_directory()).absolute()
    if not _is_made(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever makes it at the same time goes first
            if not _is_made(directory):
                _make(directory, progress)
    return TritonEnv(directory, libpython)


def check_platform() -> None:
    """Raises LocalStackError where there is no Triton wheel for this machine."""
    system, machine, kind = platform.system(), platform.machine(), platform.python_implementation()
    if (system, machine) != ("Linux", "x86_64"):
        raise LocalStackError(
            f"the embedded Triton runs on Linux x86_64 only, and this is {system} {machine}; use docker compose up instead"
        )
    libc, libc_version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in libc_version.split(".")[:2]) < GLIBC:
        raise LocalStackError(
            f"the embedded Triton needs glibc 2.35 or later (Debian 12, Ubuntu 22.04), and this is {libc or 'another libc'}"
            f" {libc_version}; use docker compose up instead"
        )
    if kind != "CPython" or sys.version_info[:2] not in VERSIONS:
        found = f"{kind} {platform.python_version()}"
        raise LocalStackError(
            f"the embedded Triton needs CPython 3.11, 3.12 or 3.13, and this is {found}; make .venv with one"
        )


def find_libpython() -> Path | None:
    """The shared library that the stub for this Python links against; None for 3.13, whose stub brings its own.

    Raises LocalStackError when there is none.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == "3.13":
        return None
    name = f"libpython{version}.so.1.0"
    # The running interpreter's own first: it fits its standard library exactly.
    own = [str(sysconfig.get_config_var("LIBDIR") or ""), f"{sys.base_prefix}/lib"]
    for folder in (*own, *LIBRARY_FOLDERS):
        if folder and (path := Path(folder) / name).exists():
            return path
    raise LocalStackError(
        f"{name} is missing, which Triton needs to run models: install it (Debian and Ubuntu: apt-get install libpython{version};"
        f" Fedora: dnf install python{version}-libs), or make .venv with a Python that has it or with Python 3.13"
    )


def stamp() -> str:
    """What an environment was made from: the requirements and this Python."""
    content = REQUIREMENTS.read_bytes() + f"{platform.python_version()} {sys.base_prefix}".encode()
    return hashlib.sha256(content).hexdigest()


def _is_made(directory: Path) -> bool:
    try:
        return (directory / STAMP).read_text() == stamp()
    except OSError:
        return False


def _make(directory: Path, progress: Progress) -> None:
    if directory.exists():
        if not (directory / "pyvenv.cfg").exists() and any(directory.iterdir()):
            raise LocalStackError(
                f"{directory} is to hold Triton's environment, but is something else; move it away"
            )
        progress(f"removing an environment that is out of date or half made: {directory}")
        shutil.rmtree(directory)
    progress(f"making Triton's environment in {directory}; some 150 MB are downloaded, once")
    _run([sys.executable, "-m", "venv", str(directory)], progress)
    install = [
        "install",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--progress-bar",
        "off",
    ]
    quiet = ["--disable-pip-version-check", "--no-input"]
    _run(
        [str(directory / "bin" / "python"), "-m", "pip", *quiet, *install, "-r", str(REQUIREMENTS)],
        progress,
    )
    (directory / STAMP).write_text(stamp())  # last: an environment without it is half made


def _run(command: list[str], progress: Progress) -> None:
    lines: list[str] = []
    foreign = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_USER")
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.lstrip().startswith(("Downloading", "Installing")):
                    progress(line.strip())
        except (
            BaseException
        ):  # as of Ctrl-C: without this, leaving the block would wait until all is installed
            process.kill()
            raise
    if process.returncode != 0:
        said = "\n  ".join(lines[-8:])
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        hint = f" (Debian and Ubuntu: apt-get install {package})" if "ensurepip" in said else ""
        raise LocalStackError(
            f"Triton's environment can't be made{hint}; {' '.join(command)} said\n  {said}"
        )
