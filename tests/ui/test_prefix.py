"""The page under a path, as a proxy serves it that leaves the path on."""

import os
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from sluice.local.servers.venv import beside
from tests.support.servers import free_port
from tests.support.waiting import until
from tests.ui.conftest import Site, open_with, sample

pytestmark = pytest.mark.integration


@pytest.fixture
def prefixed(site: Site) -> Iterator[str]:
    """The address of another process of the page, at the path /page."""
    port = free_port()
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "SLUICE_UI_API_URL": site.stack.addresses.api,
        "SLUICE_UI_PORT": str(port),
        "SLUICE_UI_ROOT_PATH": "/page",
    }
    command = [str(beside("ui") / "bin" / "python"), "-m", "ui"]
    process = subprocess.Popen(command, cwd=site.stack.state.folder("ui-packages"), env=env)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/page/healthz").is_success
        except httpx.HTTPError:
            return False

    try:
        until(answers)
        yield f"{address}/page"
    finally:
        process.terminate()
        process.wait(20)


def test_an_image_runs_under_the_path(context: BrowserContext, site: Site, prefixed: str) -> None:
    page = context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    open_with(page, prefixed, site.key)
    page.locator("#files input[type=file]").set_input_files(sample())
    expect(page.locator("#files tr")).to_have_count(1)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#result [data-row]").first).to_be_visible()
    urls = [url for url in outside if url.startswith("http") and not url.startswith(prefixed)]
    assert urls == []
