"""The wheel in an empty environment: the light client, and a stack that serves an image."""

import json
import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

from sluice import __version__
from tools.release.build import ROOT

_START_S = 300


def install(wheel: Path, folder: Path, extra: str | None = None) -> Path:
    """Make an environment with the wheel, at the tested versions.

    Returns the folder of its programs. Raises CalledProcessError.
    """
    venv.create(folder, with_pip=True)
    # pip takes hashes for all packages or for none, and the wheel has none.
    pins = re.findall(
        r"^\S+==[^\\\n]+", (ROOT / "constraints" / "dev.txt").read_text(), re.MULTILINE
    )
    (folder / "pins.txt").write_text("\n".join(pins))
    command = [folder / "bin" / "pip", "--quiet", "--disable-pip-version-check", "install"]
    command += ["--only-binary", ":all:", "--constraint", folder / "pins.txt"]
    subprocess.run([*command, f"{wheel}[{extra}]" if extra else wheel], check=True)
    return folder / "bin"


def client_starts(programs: Path) -> None:
    """Check the version, the command and the client. Raises AssertionError."""
    assert _read(programs / "sluice", "--version").split()[-1] == __version__
    _read(programs / "python", "-c", "from sluice.client import Client, AsyncClient")
    assert "sluice[local]" in _fails(programs / "sluice", "up"), "`sluice up` names its extra"


def stack_serves(programs: Path, folder: Path) -> None:
    """Start the stack with an empty state directory, and detect the codes of the sample.

    Triton's environment is made beside the other one. Raises AssertionError.
    """
    state = folder / "state"
    command = [programs / "sluice", "up", "--json", "--port", "0", "--state", state]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as stack:
        try:
            assert stack.stdout
            api = json.loads(stack.stdout.readline())["addresses"]["api"]
            shutil.copy(ROOT / "samples" / "desk.jpg", folder)
            done = _read(programs / "sluice", "submit", "desk.jpg", "--url", api, cwd=folder)
            assert "qr_code" in done, done
        finally:
            stack.terminate()
    assert stack.returncode == 0


def _read(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_START_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _fails(*command: object) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=_START_S, check=False
    )
    assert done.returncode != 0, done.stdout
    return done.stderr
