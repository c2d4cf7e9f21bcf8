"""The page in a real browser, on a real stack."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.paths import ROOT
from tests.support.waiting import until
from tests.ui.conftest import MAX_BACKLOG, Site, open_with, sample

SOON_MS = 30_000
expect.set_options(timeout=SOON_MS)  # other tests load the machine
PHONE = {"width": 375, "height": 812}


def _choose(page: Page, *images: Path) -> None:
    page.locator("#files input[type=file]").set_input_files(images)
    expect(page.locator("#files")).to_contain_text(images[-1].suffix)
    expect(page.locator("#files tr")).to_have_count(len(images))


def _await_models(page: Page) -> None:
    expect(page.get_by_role("combobox", name="Model")).to_have_value(re.compile("codes"))


def _run(page: Page, *images: Path) -> None:
    _await_models(page)
    _choose(page, *images)
    page.get_by_role("button", name="Run", exact=True).click()


def _rows(page: Page, kind: str = "row") -> int:
    return page.locator(f"#listing .{kind}").count()


@contextmanager
def _stopped(site: Site, part: str) -> Iterator[None]:
    """The processes of a part stand still."""
    site.signal(part, signal.SIGSTOP)
    try:
        yield
    finally:
        site.signal(part, signal.SIGCONT)


@contextmanager
def _queued(site: Site) -> Iterator[None]:
    """Nothing leaves the queue. The rest of the queue is canceled at the end."""
    with _stopped(site, "worker"):
        yield
        with httpx.Client(
            base_url=site.stack.addresses.api, headers={"Authorization": f"Bearer {site.key}"}
        ) as api:
            for prediction in api.get("/v1/predictions?status=starting&limit=100").json()[
                "results"
            ]:
                api.post(f"/v1/predictions/{prediction['id']}/cancel")


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sample photos, under twenty names."""
    folder = tmp_path_factory.mktemp("images")
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    paths = [folder / f"{number:02}.jpg" for number in range(20)]
    for number, path in enumerate(paths):
        path.write_bytes(photos[number % len(photos)].read_bytes())
    return paths


def test_one_image_from_the_upload_to_a_detection_that_stands_out(page: Page) -> None:
    _run(page, sample())
    expect(page.locator("#listing .succeeded")).to_be_visible(timeout=SOON_MS)
    pictures = page.locator("#result figure img")
    expect(pictures).to_have_count(2)
    for place in range(2):
        until(lambda place=place: pictures.nth(place).evaluate("image => image.naturalWidth"))
    row = page.locator("#result [data-row]").first
    row.get_by_role("button").click()
    expect(page.locator("#result g.on")).to_have_count(1)
    expect(row.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#result .legend")).to_contain_text("inference")
    for tab, text in (
        ("JSON", "detection_id"),
        ("curl", "curl -s"),
        ("Python", "sluice.client"),
        ("JavaScript", "fetch("),
    ):
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator("#code .cm-content:visible")).to_contain_text(text)


def test_twenty_images_of_which_one_is_broken(
    page: Page, twenty: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image at all")
    _run(page, *twenty[:19], broken)
    until(lambda: _rows(page, "succeeded") == 19)
    refused = page.locator("#listing .refused")
    expect(refused).to_contain_text("broken.jpg")
    expect(refused.locator(".note")).to_contain_text("image")
    refused.click()
    expect(page.locator("#result [role=alert]")).to_be_visible()


def test_a_queued_image_shows_its_place_and_cancel_ends_it(
    page: Page, site: Site, twenty: list[Path]
) -> None:
    with _queued(site):
        _run(page, *twenty[:3])
        expect(page.locator("#listing .starting")).to_have_count(3)
        expect(page.locator("#listing .starting").first).to_contain_text("place")
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(page.locator("#listing .canceled")).to_have_count(3)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()


def test_an_overloaded_service_says_so(page: Page, site: Site, twenty: list[Path]) -> None:
    with _queued(site):
        _run(page, *twenty)
        expect(page.locator("#listing .starting")).to_have_count(20)
        second = page.context.new_page()
        open_with(second, site.url, site.key)
        _run(second, *twenty[: MAX_BACKLOG - 20 + 1])
        # Asked again, or refused where the queue stands still for longer.
        note = second.locator("#listing :is(.waiting, .refused) .note")
        expect(note.first).to_contain_text("Try again in")
        second.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_role("button", name="Cancel", exact=True).click()
        until(lambda: _rows(second, "canceled") + _rows(second, "refused") == MAX_BACKLOG - 20 + 1)


def test_without_redis_the_sentence_of_the_api_is_shown(page: Page, site: Site) -> None:
    _await_models(page)
    with _stopped(site, "redis"):
        _run(page, sample())
        expect(page.locator("#listing .note")).to_contain_text("Redis")
    expect(page.locator("#listing .succeeded")).to_be_visible(timeout=SOON_MS)


def test_an_expired_key_is_named_and_stands_in_no_url(context: BrowserContext, site: Site) -> None:
    page = context.new_page()
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    open_with(page, site.url, site.expired_key)
    alert = page.locator("#message [role=alert]")
    expect(alert).to_contain_text("Enter a valid API key")
    assert not any(site.expired_key in url for url in urls)
    log = site.stack.state.log("ui").read_text()
    assert site.expired_key not in log


def test_the_key_stays_in_its_tab(page: Page, site: Site) -> None:
    page.reload()
    expect(page.get_by_label("API key")).to_have_value(site.key)
    assert page.evaluate("Object.keys(localStorage).filter(k => k.includes('key')).length") == 0
    other = page.context.new_page()
    other.goto(site.url)
    expect(other.get_by_label("API key")).to_have_value("")


def test_a_picture_of_the_webcam(page: Page) -> None:
    _await_models(page)
    page.get_by_role("tab", name="Webcam").click()
    webcam = page.locator("#webcam")
    webcam.get_by_title("grant webcam access").click()
    # A capture before the first picture of the camera is empty.
    page.wait_for_function("document.querySelector('#webcam video')?.videoWidth > 0")
    webcam.get_by_role("button", name="capture photo").click()
    expect(webcam.locator("img")).to_be_visible()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#listing .succeeded")).to_contain_text("webcam")


def test_two_people_at_once_see_their_own_alone(browser: Browser, site: Site) -> None:
    pages = [browser.new_context().new_page() for _ in site.people]
    images = [sample("desk.jpg"), sample("cans.jpg")]
    for page, key in zip(pages, site.people, strict=True):
        open_with(page, site.url, key)
        _await_models(page)
    with _stopped(site, "worker"):  # both run at once
        for page, image in zip(pages, images, strict=True):
            _run(page, image)
        for page in pages:
            expect(page.locator("#listing .starting")).to_have_count(1)
    ids = []
    for page, image in zip(pages, images, strict=True):
        expect(page.locator("#listing .succeeded")).to_contain_text(image.name)
        expect(page.locator("#listing .row")).to_have_count(1)
        page.get_by_role("tab", name="History").click()
        opening = page.locator(".card button")
        expect(opening).to_have_count(1)
        ids.append(opening.get_attribute("data-id"))
        page.context.close()
    assert len(set(ids)) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_a_phone(browser: Browser, site: Site, scheme: str) -> None:
    name = "axe_playwright_python.sync_playwright"
    axe = pytest.importorskip(name, reason="the package axe-playwright-python is not installed")
    context = browser.new_context(viewport=PHONE, color_scheme=scheme)
    page = context.new_page()
    open_with(page, site.url, site.key)
    _run(page, sample())
    expect(page.locator("#result [data-row]").first).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    page.add_style_tag(content="* { transition: none !important }")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    found = [
        (violation["id"], [node["html"][:160] for node in violation["nodes"]])
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    context.close()
    assert found == []
