"""Virtual environments that the embedded stack makes beside Sluice's own, from pinned packages."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sluice.errors import LocalStackError

STAMP = "sluice-stamp"

Progress = Callable[[str], None]
Install = Callable[[list[str], Progress], None]


@dataclass(frozen=True)
class Venv:
    """A virtual environment to make."""

    title: str
    """The name in messages, such as "Triton's environment"."""

    requirements: Path
    """A file of pip's, with every package, its version and its hashes."""

    download: str
    """The size of the packages, such as "about 150 MB"."""

    directory: Path
    """The folder of the environment."""

    def stamp(self) -> str:
        """A digest of the inputs: the requirements and this Python."""
        python = f"{platform.python_version()} {sys.base_prefix}".encode()
        return hashlib.sha256(self.requirements.read_bytes() + python).hexdigest()

    def is_made(self) -> bool:
        """True where a complete environment of these inputs is in the folder."""
        try:
            return (self.directory / STAMP).read_text() == self.stamp()
        except OSError:
            return False

    def ensure(
        self, progress: Progress = lambda line: None, install: Install | None = None
    ) -> None:
        """Make the environment unless a good one is there already.

        `progress` is called with a line for each step. `install` runs a command of the
        installation; by default `run_installer`. Raises LocalStackError when the installation
        fails.
        """
        if self.is_made():
            return
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with self.directory.with_name(f"{self.directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making the environment now
            if not self.is_made():
                self._make(progress, install or run_installer)

    def _make(self, progress: Progress, install: Install) -> None:
        directory = self.directory
        if directory.exists():
            if not (directory / "pyvenv.cfg").exists() and any(directory.iterdir()):
                raise LocalStackError(
                    f"{directory} should hold {self.title}, but is something else; move it away"
                )
            progress(f"removing an environment that is out of date or incomplete: {directory}")
            shutil.rmtree(directory)
        progress(f"making {self.title} in {directory}; {self.download} are downloaded, once")
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
        install([*pip, *options, "-r", str(self.requirements)], progress)
        # The stamp comes last. An environment without a stamp is incomplete.
        (directory / STAMP).write_text(self.stamp())


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
        except BaseException:  # such as Ctrl-C: otherwise `with` would wait for the command
            process.kill()
            raise
    if process.returncode != 0:
        output = "\n  ".join(lines[-8:])
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        missing = "ensurepip" in output
        hint = f" (Debian and Ubuntu: apt-get install {package})" if missing else ""
        raise LocalStackError(
            f"the environment can't be made{hint}; {' '.join(command)} printed\n  {output}"
        )


def beside(name: str) -> Path:
    """SLUICE_LOCAL_<name>_ENV, or a folder beside this environment: `.venv` → `.venv-triton`."""
    chosen = os.environ.get(f"SLUICE_LOCAL_{name.upper()}_ENV")
    return Path(chosen).expanduser() if chosen else Path(f"{sys.prefix}-{name}")
