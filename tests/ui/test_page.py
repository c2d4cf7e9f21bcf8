"""The page in a real browser."""

from playwright.sync_api import Page, expect


def test_the_page_opens_without_another_host(page: Page) -> None:
    expect(page.get_by_role("heading", name="Sluice")).to_be_visible()
    expect(page.get_by_role("tab", name="Try")).to_be_visible()
