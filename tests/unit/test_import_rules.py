"""The import rules of pyproject.toml catch a new module that breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PLANTED = {
    "api, worker and page stand beside each other, over sluice": (
        "worker/planted.py",
        "import api.errors",
    ),
    "api and worker run without the command line and the embedded stack": (
        "worker/planted_cli.py",
        "import sluice.local.stack",
    ),
    "api and worker add no models: only the command line reaches the repository": (
        "worker/planted_models.py",
        "import sluice.repository",
    ),
    "the page reaches the service by the HTTP interface only": (
        "ui/planted.py",
        "import sluice.ledger.predictions",
    ),
    "the api reaches no pixels, even indirectly": ("api/planted.py", "import sluice.vision.boxes"),
    "the keeper's own process reaches no pixels and no Triton": ("worker/rounds.py", "import cv2"),
    "the webhooks process reaches no queue and no pixels": ("worker/sender.py", "import celery"),
    "the layers of sluice": ("sluice/ledger/planted.py", "import sluice.intake.intake"),
    "the layers of the api": ("api/requests/planted.py", "import api.submitting"),
    "a route imports no other route": ("api/routes/queue.py", "import api.routes.health"),
    "the nouns know no adapter": ("sluice/file.py", "import redis"),
    "only vision.triton and repository.config import tritonclient": (
        "sluice/vision/planted.py",
        "import tritonclient.grpc",
    ),
}


def lint(checkout: Path) -> str:
    """The report of import-linter on a copy of the packages."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300
    )
    return done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("sluice", "api", "worker", "ui"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def test_each_rule_catches_a_planted_import(checkout: Path) -> None:
    assert "0 broken" in lint(checkout)
    for name, line in PLANTED.values():
        with (checkout / name).open("a") as file:
            file.write(f"\n{line}\n")
    report = lint(checkout)
    assert [rule for rule in PLANTED if f"{rule} BROKEN" not in report] == [], report


def test_a_module_without_a_place_in_the_layers_is_an_error(checkout: Path) -> None:
    (checkout / "sluice" / "stray.py").write_text("")
    report = lint(checkout)
    assert "the layers of sluice BROKEN" in report
    assert "stray" in report
