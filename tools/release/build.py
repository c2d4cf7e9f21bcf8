"""The wheel and the source distribution, reproducible: a commit gives the same bytes each time."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sluice", "api", "worker", "ui")
DATA = {
    "model_repository/codes": "sluice/local/data/model_repository/codes",
    "samples/desk.jpg": "sluice/local/data/samples/desk.jpg",
}
"""Files for a stack without a checkout: the place in the repository, and the place in the wheel."""
MUST = (
    "api/__main__.py",
    "sluice/ledger/lua/claim.lua",
    "sluice/local/backends/onnxruntime/model.py",
    "sluice/local/data/model_repository/codes/config.pbtxt",
    "sluice/local/servers/triton.txt",
    "worker/__main__.py",
)
"""Files of each kind that the wheel is useless without."""


@dataclass(frozen=True)
class Distributions:
    """The two files of a release."""

    wheel: Path
    sdist: Path


def build(out: Path) -> Distributions:
    """Build both into the folder `out`, the wheel from the source distribution.

    Raises CalledProcessError. The files' times are those of the last commit.
    """
    command = [sys.executable, "-m", "build", "--quiet", "--no-isolation"]
    command += ["--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Distributions(wheel, sdist)


def environment() -> dict[str, str]:
    """The variables of this process, and SOURCE_DATE_EPOCH: the last commit, in seconds."""
    return {"SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct").strip(), **os.environ}


def uncommitted() -> list[str]:
    """Files that differ from the last commit. A release has none."""
    return _git("status", "--porcelain").splitlines()


def problems(wheel: Path) -> list[str]:
    """The differences between a wheel's files and those that it must hold."""
    with zipfile.ZipFile(wheel) as archive:
        present = set(archive.namelist())
    about = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    records = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    right = {*_sources(), *(f"{about}/{name}" for name in records)}
    return [
        *(f"the wheel lacks {name}" for name in sorted((right | set(MUST)) - present)),
        *(f"the wheel holds {name}" for name in sorted(present - right)),
    ]


def _sources() -> set[str]:
    """The wheel's files that come from the repository, by their names in the wheel."""
    sources = set(_git("ls-files", *(name for name in PACKAGES if (ROOT / name).is_dir())).split())
    for origin, place in DATA.items():
        sources |= {name.replace(origin, place, 1) for name in _git("ls-files", origin).split()}
    return sources


def _git(*words: str) -> str:
    command = [shutil.which("git") or "git", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
