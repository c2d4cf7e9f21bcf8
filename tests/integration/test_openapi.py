"""The live stack does what its OpenAPI document says, by schemathesis with all its checks."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.live import Live

pytestmark = pytest.mark.integration
CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 8  # random examples for each operation, beside those that cover its schema


@pytest.fixture(scope="module")
def run(
    live: Live, tmp_path_factory: pytest.TempPathFactory
) -> tuple["subprocess.CompletedProcess[str]", Path]:
    """The finished run of schemathesis, and its report."""
    directory = tmp_path_factory.mktemp("schemathesis")
    report = directory / "report.ndjson"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--no-color",
        "--config-file",
        str(CONFIG),
        "run",
    ]
    command += [
        f"{live.api}/openapi.json",
        "--generation-deterministic",
        "--max-examples",
        str(EXAMPLES),
    ]
    command += ["--continue-on-failure", "--report", "ndjson", "--report-ndjson-path", str(report)]
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=900, check=False
    ), report


def _events(report: Path, kind: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in report.read_text().splitlines())
    return [event[kind] for event in found if kind in event]


def test_schemathesis_finds_no_difference_from_the_openapi_document(
    run: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    done, _ = run
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout


def test_schemathesis_reached_every_operation_with_success(
    run: tuple["subprocess.CompletedProcess[str]", Path],
) -> None:
    """A run that every operation refused would find nothing either."""
    good: Counter[str] = Counter()
    for event in _events(run[1], "ScenarioFinished"):
        cases = event["recorder"].get("cases", {})
        for case_id, interaction in event["recorder"].get("interactions", {}).items():
            status = (interaction.get("response") or {}).get("status_code", 0)
            if 200 <= status < 300:
                good["{method} {path}".format(**cases[case_id]["value"])] += 1
    reached = {
        "POST /v1/predictions",
        "POST /v1/models/{owner}/{name}/predictions",
        "GET /v1/predictions/{id}",
        "GET /v1/predictions/{id}/stream",
        "GET /v1/predictions/{id}/image",
        "POST /v1/files",
        "GET /v1/files/{id}",
        "DELETE /v1/files/{id}",
        "GET /v1/models/{owner}/{name}/versions/{version}",
        "POST /v1/batches",
        "GET /v1/batches/{id}",
    }
    assert reached <= set(good), sorted(reached - set(good))
