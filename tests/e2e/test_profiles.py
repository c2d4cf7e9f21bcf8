"""The profiles `ui` and `monitoring`."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

PROMETHEUS = "http://127.0.0.1:9090"


@contextmanager
def _profile(stack: Stack, name: str, service: str) -> Iterator[None]:
    """One service of a profile, for a while."""
    stack.compose("--profile", name, "up", "--detach", "--wait", service)
    try:
        yield
    finally:
        stack.compose("--profile", name, "rm", "--stop", "--force", service)


def test_the_page_runs_an_image_in_its_container(stack: Stack) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("the program chromium is not installed")
    with _profile(stack, "ui", "ui"), playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(stack.ui_url, wait_until="domcontentloaded")
        page.wait_for_function("document.querySelector('#model input')?.value.includes('codes')")
        page.locator("#files input[type=file]").set_input_files(ROOT / "samples" / "desk.jpg")
        page.locator("#files tr").first.wait_for()
        page.get_by_role("button", name="Run", exact=True).click()
        page.locator("#listing .succeeded").wait_for()
        page.locator("#result [data-row]").first.wait_for()
        browser.close()


def test_the_page_writes_json_alone(stack: Stack) -> None:
    with _profile(stack, "ui", "ui"):
        stack.compose("--profile", "ui", "restart", "ui")
        stack.until(lambda: stack.healthy("ui"))
        assert stack.lines("ui", "ui")


def test_prometheus_reaches_every_part_and_loads_the_rules(stack: Stack) -> None:
    config = json.loads(stack.compose("--profile", "monitoring", "config", "--format", "json"))
    image = config["services"]["prometheus"]["image"]
    look = ["docker", "image", "inspect", image]
    if subprocess.run(look, capture_output=True, check=False).returncode:
        pytest.skip(f"the image {image} is not here")
    with _profile(stack, "monitoring", "prometheus"), httpx.Client(base_url=PROMETHEUS) as asked:

        def answer(path: str) -> Any:
            return asked.get(f"/api/v1/{path}").raise_for_status().json()["data"]

        def health() -> dict[str, str]:
            targets = answer("targets")["activeTargets"]
            return {target["labels"]["job"]: target["health"] for target in targets}

        jobs = ("api", "keeper", "triton", "webhooks", "worker")
        stack.until(lambda: health() == dict.fromkeys(jobs, "up"))
        rules = [rule for group in answer("rules")["groups"] for rule in group["rules"]]
        assert len(rules) > 10
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
