"""Triton's own virtual environment: the nvidia-pytriton wheel's server, ONNX Runtime and OpenVINO.

Sluice's environment can't hold these packages: Triton's Python backend is built for numpy 1.
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
GLIBC = (2, 35)  # the wheel is built for this version
STAMP = "sluice-stamp"
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)

Progress = Callable[[str], None]
Install = Callable[[list[str], Progress], None]


@dataclass(frozen=True)
class TritonEnv:
    """An environment that is ready."""

    directory: Path
    """The folder of the virtual environment."""

    libpython: Path | None
    """The shared library that the stub needs. None when the wheel holds the library."""

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
    """SLUICE_LOCAL_TRITON_ENV, or a folder beside this environment: `.venv` → `.venv-triton`."""
    chosen = os.environ.get("SLUICE_LOCAL_TRITON_ENV")
    return Path(chosen).expanduser() if chosen else Path(f"{sys.prefix}-triton")


def ensure(
    directory: Path | None = None,
    progress: Progress = lambda line: None,
    install: Install | None = None,
) -> TritonEnv:
    """Make the environment unless a good one is there already.

    `progress` is called with a line for each step. `install` runs a command of the installation;
    by default `run_installer`.

    Raises LocalStackError, with the remedy, when this machine can't run Triton, or the installation
    fails.
    """
    check_platform()
    libpython = find_libpython()
    directory = (directory or default_directory()).absolute()
    if not _is_made(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making the environment now
            if not _is_made(directory):
                _make(directory, progress, install or run_installer)
    return TritonEnv(directory, libpython)


def check_platform() -> None:
    """Raises LocalStackError when there is no Triton wheel for this machine."""
    system, machine, kind = platform.system(), platform.machine(), platform.python_implementation()
    if (system, machine) != ("Linux", "x86_64"):
        raise LocalStackError(
            f"the embedded Triton runs on Linux x86_64 only, and this is {system} {machine};"
            " use docker compose up instead"
        )
    libc, libc_version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in libc_version.split(".")[:2]) < GLIBC:
        raise LocalStackError(
            "the embedded Triton needs glibc 2.35 or later (Debian 12, Ubuntu 22.04), and this is"
            f" {libc or 'another libc'} {libc_version}; use docker compose up instead"
        )
    if kind != "CPython" or sys.version_info[:2] not in VERSIONS:
        raise LocalStackError(
            "the embedded Triton needs CPython 3.11, 3.12 or 3.13, and this is"
            f" {kind} {platform.python_version()}; make .venv with one of those"
        )


def find_libpython() -> Path | None:
    """The shared library that the stub for this Python links against.

    None for Python 3.13: that stub's wheel holds the library. Raises LocalStackError when the
    library is missing.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == "3.13":
        return None
    name = f"libpython{version}.so.1.0"
    # The running interpreter's library comes first. Only that one surely fits its standard library.
    own = [str(sysconfig.get_config_var("LIBDIR") or ""), f"{sys.base_prefix}/lib"]
    for folder in (*own, *LIBRARY_FOLDERS):
        if folder and (path := Path(folder) / name).exists():
            return path
    raise LocalStackError(
        f"{name} is missing, which Triton needs to run models: install it"
        f" (Debian and Ubuntu: apt-get install libpython{version};"
        f" Fedora: dnf install python{version}-libs),"
        " or make .venv with a Python that has it or with Python 3.13"
    )


def stamp() -> str:
    """A digest of the inputs of an environment: the requirements and this Python."""
    content = REQUIREMENTS.read_bytes() + f"{platform.python_version()} {sys.base_prefix}".encode()
    return hashlib.sha256(content).hexdigest()


def _is_made(directory: Path) -> bool:
    try:
        return (directory / STAMP).read_text() == stamp()
    except OSError:
        return False


def _make(directory: Path, progress: Progress, install: Install) -> None:
    if directory.exists():
        if not (directory / "pyvenv.cfg").exists() and any(directory.iterdir()):
            raise LocalStackError(
                f"{directory} should hold Triton's environment, but is something else; move it away"
            )
        progress(f"removing an environment that is out of date or incomplete: {directory}")
        shutil.rmtree(directory)
    progress(f"making Triton's environment in {directory}; about 150 MB are downloaded, once")
    install([sys.executable, "-m", "venv", str(directory)], progress)
    options = [
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--progress-bar",
        "off",
    ]
    pip = [str(directory / "bin" / "python"), "-m", "pip"]
    install([*pip, *options, "-r", str(REQUIREMENTS)], progress)
    # The stamp comes last. An environment without a stamp is incomplete.
    (directory / STAMP).write_text(stamp())


def run_installer(command: list[str], progress: Progress) -> None:
    """Run a command of the installation; `progress` gets its lines on downloads and installs.

    Raises LocalStackError with the command's last lines when the command fails.
    """
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
        except BaseException:  # such as Ctrl-C: otherwise `with` would wait for the whole command
            process.kill()
            raise
    if process.returncode != 0:
        output = "\n  ".join(lines[-8:])
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        hint = f" (Debian and Ubuntu: apt-get install {package})" if "ensurepip" in output else ""
        raise LocalStackError(
            f"Triton's environment can't be made{hint}; {' '.join(command)} printed\n  {output}"
        )
