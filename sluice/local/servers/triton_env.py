"""Triton's own virtual environment: the nvidia-pytriton wheel's server, ONNX Runtime and OpenVINO.

Sluice's environment can't hold these packages: Triton's Python backend is built for numpy 1.
"""

import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LocalStackError
from sluice.local.servers.venv import Install, Progress, Venv, beside

REQUIREMENTS = Path(__file__).with_name("triton.txt")
VERSIONS = ((3, 11), (3, 12), (3, 13))
GLIBC = (2, 35)  # the wheel is built for this version
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)


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


def ensure(
    directory: Path | None = None,
    progress: Progress = lambda line: None,
    install: Install | None = None,
) -> TritonEnv:
    """Make the environment unless a good one is there already.

    `progress` and `install` are those of `Venv.ensure`.

    Raises LocalStackError, with the remedy, when this machine can't run Triton, or the installation
    fails.
    """
    check_platform()
    libpython = find_libpython()
    directory = (directory or beside("triton")).absolute()
    Venv("Triton's environment", REQUIREMENTS, "about 150 MB", directory).ensure(progress, install)
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
