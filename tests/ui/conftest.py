"""A stack with the page, and a real browser that may reach nothing but this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from sluice.access.keys_file import KeysFile
from sluice.local.config import ALL_PARTS
from sluice.local.servers import ui_env
from sluice.local.servers.venv import Venv, beside
from sluice.local.stack import Stack, StackConfig
from tests.support.paths import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# A green picture in place of a webcam, and no question before it.
FLAGS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
MAX_BACKLOG = 30
TIMEOUT_MS = 30_000


class Site:
    """The stack, a valid key, one that was revoked, an operator's, and those of two people."""

    def __init__(
        self, stack: Stack, key: str, expired_key: str, operator_key: str, people: list[str]
    ) -> None:
        assert stack.addresses.ui is not None
        self.stack = stack
        self.url = stack.addresses.ui
        self.key = key
        self.expired_key = expired_key
        self.operator_key = operator_key
        self.people = people

    def signal(self, part: str, number: int) -> None:
        """Send a signal to each process of a part."""
        for name, pid in self.stack.pids.items():
            if name.startswith(part):
                os.kill(pid, number)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if CHROMIUM is None:
        pytest.skip("the program chromium is not installed")
    if not Venv("", ui_env.REQUIREMENTS, "", beside("ui")).is_made():
        pytest.skip("the page's environment is not made: run `sluice setup --ui`")
    state = tmp_path_factory.mktemp("ui")
    keys = KeysFile(state / "keys.json")
    key = keys.create("me", None, None, None)
    expired_key = keys.create("former", None, None, None)
    keys.revoke("former", older=None)
    operator_key = keys.create("ops", None, None, None, operator=True)
    people = [keys.create(name, None, None, None) for name in ("anna", "ben")]
    env = {
        "SLUICE_API_KEYS_FILE": str(state / "keys.json"),
        "SLUICE_QUEUE_MAX_BACKLOG": str(MAX_BACKLOG),
        "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",  # a receiver of webhooks on this machine
    }
    config = StackConfig(
        state=state / "state",
        models=ROOT / "model_repository",
        port=0,
        env=env,
        parts=ALL_PARTS | {"ui"},
    )
    with Stack(config) as stack:
        yield Site(stack, key, expired_key, operator_key, people)


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    """Playwright has an event loop, which runs until its end: other tests may find none running."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser. A request to another host is refused, and fails the test at its end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    abroad: list[str] = []

    def refuse_abroad(route: Route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", None):
            route.continue_()
        else:
            abroad.append(route.request.url)
            route.abort()

    context.route("**/*", refuse_abroad)
    yield context
    context.close()
    assert abroad == []


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Page:
    """The page, opened with a valid key."""
    page = context.new_page()
    open_with(page, site.url, site.key)
    return page


def open_with(page: Page, url: str, key: str) -> None:
    """Open the page and enter a key."""
    page.goto(url, wait_until="domcontentloaded")
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")


def sample(name: str = "desk.jpg") -> Path:
    return ROOT / "samples" / name
