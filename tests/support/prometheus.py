"""A real Prometheus, and the expressions of the repository's alerts and dashboards."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.paths import ROOT
from tests.support.servers import free_port

RULES = ROOT / "monitoring" / "rules.yml"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus and promtool are not on the PATH (Debian has both as prometheus)",
)


def _rules() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="yaml is not installed; `make check` installs it")
    document: dict[str, Any] = yaml.safe_load(RULES.read_text())
    return document


def alerts() -> dict[str, str]:
    """The expression of each alert."""
    document = _rules()
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule["expr"] for rule in rules}


def panel_queries(interval: str) -> Iterator[tuple[str, str]]:
    """A name and the expression of each query of the dashboards, for Prometheus itself."""
    for path in sorted((ROOT / "monitoring" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", interval)
                yield f"{path.stem}: {panel['title']} {target['legendFormat']}", expression


def impatient(changes: Mapping[str, tuple[str, str]]) -> str:
    """The rules without waiting times; `changes`: for an alert, a text in place of another."""
    document = _rules()
    for group in document["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
            if change := changes.get(rule["alert"]):
                assert change[0] in rule["expr"]
                rule["expr"] = rule["expr"].replace(*change)
            window = "40s" if "increase(" in rule["expr"] else "10s"
            rule["expr"] = re.sub(r"\[(\d+)[mh]\]", f"[{window}]", rule["expr"])
    return json.dumps(document)  # which is YAML too


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def get(self, path: str, **parameters: str) -> Any:
        """Return `data` of an answer. Raises where Prometheus refuses the query."""
        answer = self._http.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series of an instant query."""
        result: list[Any] = self.get("/query", query=expression)["result"]
        return result

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {
            alert["labels"]["alertname"]
            for alert in self.get("/alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def targets(self) -> dict[str, str]:
        """The health of each job's targets, the worst of them."""
        found: dict[str, str] = {}
        for target in self.get("/targets")["activeTargets"]:
            job = target["labels"]["job"]
            found[job] = found.get(job) if found.get(job, "up") != "up" else target["health"]
        return found

    def close(self) -> None:
        self._http.close()


@contextmanager
def run_prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Start a Prometheus with this configuration, which keeps its data in `folder`."""
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    subprocess.run(["promtool", "check", "config", path], check=True, capture_output=True)
    port = free_port()
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command) as process:
        client = Prometheus(f"http://127.0.0.1:{port}")
        try:
            _wait_ready(f"http://127.0.0.1:{port}/-/ready")
            yield client
        finally:
            client.close()
            process.terminate()


def _wait_ready(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.ConnectError:
            pass
        assert time.monotonic() < until, "Prometheus did not start"
        time.sleep(0.1)
