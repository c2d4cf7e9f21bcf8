"""History in a real browser, over the real stack."""

import pytest
from playwright.sync_api import Page, expect

from sluice.client import Client
from tests.ui.conftest import Site, open_with, sample

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def filled(site: Site) -> Site:
    """Fifteen predictions of `me`, one of them drawn, and one of another name."""
    with Client(site.stack.addresses.api, site.key) as client:
        client.run(sample().read_bytes(), metadata={"name": "drawn.jpg"}, visualize=True)
        for number in range(14):
            metadata = {"name": f"photo-{number:02}.jpg"}
            client.run(sample("shelf.jpg").read_bytes(), metadata=metadata)
        with pytest.raises(Exception, match="no model"):
            client.run(sample().read_bytes(), model="nobody")
    with Client(site.stack.addresses.api, site.operator_key) as client:
        client.run(sample("cans.jpg").read_bytes(), metadata={"name": "operators.jpg"})
    return site


def _open_tab(page: Page, site: Site, key: str, tab: str) -> None:
    open_with(page, site.url, key)
    page.get_by_role("tab", name=tab).click()


@pytest.fixture
def blank(context: object) -> Page:
    """A page that no key was entered into."""
    return context.new_page()  # type: ignore[attr-defined]


def test_history_has_filters_and_pages(blank: Page, filled: Site) -> None:
    _open_tab(blank, filled, filled.key, "History")
    cards = blank.locator(".card")
    expect(cards).to_have_count(12)
    expect(blank.get_by_role("button", name="Newer")).to_be_disabled()
    blank.get_by_role("button", name="Older").click()
    expect(blank.get_by_text("drawn.jpg").first).to_be_visible()
    expect(cards).to_have_count(3)
    expect(blank.locator(".card img")).to_have_count(1)
    blank.get_by_label("Status").click()
    blank.get_by_role("option", name="canceled").click()
    blank.get_by_role("button", name="Show the newest").click()
    expect(blank.get_by_text("No prediction on this page.")).to_be_visible()
