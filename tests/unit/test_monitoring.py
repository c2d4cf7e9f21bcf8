"""Alerts and dashboards: syntax, unit tests, runbook, and the form that Grafana reads."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from sluice.metrics.reference import PARTS, described
from tests.support.paths import ROOT
from tests.support.prometheus import RULES, needs_prometheus
from tools import dashboards

MONITORING = ROOT / "monitoring"
RUNBOOK = (ROOT / "docs" / "guide" / "monitoring.md").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())


def _metrics(text: str) -> set[str]:
    names = set(re.findall(r"\b(?:sluice|nv|process)_\w+", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def _known() -> set[str]:
    names = {metric.name for groups in PARTS.values() for metric in described(*groups)}
    return names | {"sluice_redis_round_trip_seconds", "sluice_redis_errors_total"}


@needs_prometheus
@pytest.mark.parametrize(
    "words", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")]
)
def test_promtool_accepts(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_section_and_a_unit_test(alert: str) -> None:
    assert f"\n### {alert}\n" in RUNBOOK
    assert f"monitoring.md#{alert.lower()}\n" in RULES.read_text()
    assert f'alertname="{alert}"' in (MONITORING / "rules_test.yml").read_text()


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_the_file_is_current_and_in_grafanas_form(name: str) -> None:
    path = MONITORING / "dashboards" / f"{name}.json"
    assert path.read_text() == dashboards.text(name), "run python -m tools.dashboards"
    document = json.loads(path.read_text())
    assert document["schemaVersion"] >= 36
    assert document["templating"]["list"][0]["type"] == "datasource"
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len(set(places)) == len(places)
    for panel in document["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert target["legendFormat"]


@pytest.mark.parametrize("path", [RULES, *sorted((MONITORING / "dashboards").glob("*.json"))])
def test_every_metric_of_sluice_is_one_that_exists(path: Path) -> None:
    names = {name for name in _metrics(path.read_text()) if name.startswith("sluice_")}
    assert names <= _known()


def test_kubernetes_and_compose_use_the_same_files() -> None:
    text = (MONITORING / "kustomization.yaml").read_text()
    for path in (MONITORING / "dashboards").glob("*.json"):
        assert f"dashboards/{path.name}" in text
    compose = (ROOT / "docker-compose.yml").read_text()
    for part in ("rules.yml", "dashboards", "grafana/datasource.yml", "grafana/dashboards.yml"):
        assert f"./monitoring/{part}:" in compose
