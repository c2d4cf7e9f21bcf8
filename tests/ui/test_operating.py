"""History, Operate and Webhooks in a real browser, over the real stack."""

import io
import re
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page, expect

from sluice.blobs.store import input_key, stored_key
from sluice.client import Client
from sluice.ledger.deliveries import RedisDeliveries
from sluice.ledger.record import to_record
from sluice.prediction import Submission
from sluice.redisio.names import Names
from sluice.settings import WebhooksSettings
from tests.ui.conftest import Site, open_with, sample

pytestmark = pytest.mark.integration

NAMES = Names("default")
DEAD = "dead-letter-of-a-test"
LETTER = "failed-delivery"
REFRESH_MS = 5_000  # as in ui/operate_tab.py, which needs the page's own environment


@dataclass
class Hooks:
    """A receiver of webhooks on this machine."""

    url: str
    bodies: list[bytes]


@pytest.fixture(scope="module")
def hooks() -> Iterator[Hooks]:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(410 if self.path == "/gone" else 200)
            self.end_headers()
            self.wfile.write(b"thanks")

        def log_message(self, *_: object) -> None:
            """Nothing is written to the test's output."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hooks(f"http://127.0.0.1:{server.server_port}", bodies)
    server.shutdown()
    server.server_close()


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


@pytest.fixture
def dead_letter(site: Site) -> Iterator[str]:
    """A dead letter with its image, in the stack's Redis."""
    with redis.Redis.from_url(site.stack.addresses.redis) as client:
        _make_dead(client)
        yield DEAD
        client.zrem(NAMES.dead, DEAD)
        client.delete(NAMES.prediction(DEAD))


def _make_dead(client: "redis.Redis") -> None:
    submission = Submission(model="codes", key="me", metadata={"name": "crash.jpg"})
    flat = to_record(submission, "")
    now = time.time()
    record = {
        **dict(zip(flat[::2], flat[1::2], strict=True)),
        "priority": "normal",
        "key": "me",
        "status": "failed",
        "created_at": now - 60,
        "completed_at": now,
        "attempts": 3,
        "logs": "attempt 3: its worker fell silent",
        "error": '{"code":"worker_lost","message":"The worker died or hung each time."}',
    }
    client.hset(NAMES.prediction(DEAD), mapping=record)
    client.zadd(NAMES.dead, {DEAD: now})
    client.set(stored_key(input_key(DEAD, "")), sample().read_bytes(), ex=600)


@pytest.fixture
def failed_delivery(site: Site, hooks: Hooks) -> str:
    """A delivery that was given up. The receiver accepts the next attempt."""
    with redis.Redis.from_url(site.stack.addresses.redis) as client:
        deliveries = RedisDeliveries(client, "default", WebhooksSettings())
        delivery = deliveries.file_test(LETTER, f"{hooks.url}/again", "me", b"{}")
        deadline = time.monotonic() + 20
        while deliveries.get(delivery.id).status != "delivered" and time.monotonic() < deadline:
            time.sleep(0.05)
        name = NAMES.delivery(delivery.id)
        client.hset(name, mapping={"status": "dead", "reason": "attempts", "body": "{}"})
        client.zadd(NAMES.deliveries_dead, {delivery.id: time.time()})
    return delivery.id


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


def test_what_was_asked_for_last_is_shown_though_an_older_answer_comes_later(
    blank: Page, filled: Site
) -> None:
    _open_tab(blank, filled, filled.key, "History")
    expect(blank.locator(".card")).to_have_count(12)
    filled.signal("api", signal.SIGSTOP)
    try:
        # The older page needs two answers of the api, for the list and for the annotated image.
        blank.get_by_role("button", name="Older").click()
        blank.get_by_label("Model").last.fill("another-model")
        blank.get_by_label("Model").last.press("Enter")
        blank.wait_for_timeout(500)
    finally:
        filled.signal("api", signal.SIGCONT)
    expect(blank.get_by_text("No prediction on this page.")).to_be_visible()
    blank.wait_for_timeout(1_500)  # the older answer would be shown by now
    expect(blank.locator(".card")).to_have_count(0)


def test_a_prediction_is_opened_submitted_again_and_packed(blank: Page, filled: Site) -> None:
    _open_tab(blank, filled, filled.key, "History")
    blank.get_by_role("button", name="Open photo-13.jpg").click()
    expect(blank.get_by_text("Detections, in pixels")).to_be_visible()
    expect(blank.get_by_role("button", name="Cancel the prediction")).to_be_disabled()
    blank.get_by_role("button", name="Submit again").click()
    expect(blank.get_by_text("Choose the image's file first.")).to_be_visible()
    blank.get_by_label("Select photo-13.jpg").check()
    blank.get_by_label("Select photo-12.jpg").check()
    blank.get_by_label("YOLO", exact=True).check()
    blank.get_by_role("button", name="Make a ZIP of the selection").click()
    expect(blank.get_by_text("2 predictions are packed.")).to_be_visible()
    with blank.expect_download() as download:
        blank.get_by_role("link", name="sluice-yolo.zip").or_(
            blank.locator("a[download]")
        ).first.click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert {"labels/photo-13.txt", "labels/photo-12.txt", "classes.txt"} == set(
            archive.namelist()
        )


def test_only_an_operator_sees_others(blank: Page, filled: Site) -> None:
    _open_tab(blank, filled, filled.key, "History")
    blank.get_by_label("Whose (for operators)").fill("*")
    blank.get_by_role("button", name="Show the newest").click()
    expect(blank.get_by_text("This part needs an operator's key.").first).to_be_visible()
    blank.get_by_role("tab", name="Operate").click()
    expect(blank.get_by_text("This part needs an operator's key.").last).to_be_visible()
    expect(blank.locator(".plots")).to_have_count(0)
    _open_tab(blank, filled, filled.operator_key, "History")
    blank.get_by_label("Whose (for operators)").fill("*")
    blank.get_by_role("button", name="Show the newest").click()
    expect(blank.locator(".card", has_text="operators.jpg")).to_be_visible()
    expect(blank.locator(".card", has_text="photo-13.jpg")).to_be_visible()


def test_a_dead_letter_is_requeued(blank: Page, filled: Site, dead_letter: str) -> None:
    _open_tab(blank, filled, filled.operator_key, "Operate")
    expect(blank.get_by_role("img", name="Backlog")).to_be_visible()
    expect(blank.get_by_text("The worker died or hung each time.")).to_be_visible()
    blank.get_by_role("button", name=f"Requeue {dead_letter}").click()
    expect(blank.get_by_text("Requeued as")).to_be_visible()
    expect(blank.get_by_role("cell", name="ready", exact=True).first).to_be_visible()


def test_the_last_hour_is_read_again_only_while_it_is_in_sight(blank: Page, filled: Site) -> None:
    _open_tab(blank, filled, filled.operator_key, "Operate")
    expect(blank.get_by_role("img", name="Backlog")).to_be_visible()
    pulse = blank.locator("#pulse input")
    with blank.expect_request("**/queue/join*"):
        before = pulse.input_value()
        expect(pulse).not_to_have_value(before)
    blank.get_by_role("tab", name="Webhooks").click()
    expect(blank.get_by_role("img", name="Backlog")).to_be_hidden()
    blank.wait_for_timeout(1_000)  # a pulse that began before
    last = pulse.input_value()
    blank.wait_for_timeout(2.2 * REFRESH_MS)
    expect(pulse).to_have_value(last)
    blank.get_by_role("tab", name="Operate").click()
    expect(pulse).not_to_have_value(last)


def test_a_failed_delivery_is_sent_again(
    blank: Page, filled: Site, failed_delivery: str, hooks: Hooks
) -> None:
    count = len(hooks.bodies)
    _open_tab(blank, filled, filled.operator_key, "Operate")
    blank.get_by_role("button", name=f"Redeliver {failed_delivery}").click()
    # A sender may have begun or ended the attempt by the time of the answer.
    said = re.compile(f"Delivery {failed_delivery} is (waiting|sending|delivered)")
    expect(blank.get_by_text(said)).to_be_visible()
    expect(blank.get_by_role("button", name=f"Redeliver {failed_delivery}")).to_have_count(0)
    deadline = time.monotonic() + 20
    while len(hooks.bodies) == count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(hooks.bodies) == count + 1


def test_a_test_event_has_its_log(blank: Page, filled: Site, hooks: Hooks) -> None:
    _open_tab(blank, filled, filled.key, "Webhooks")
    blank.get_by_role("button", name="Send a test event").click()
    expect(blank.get_by_text("Enter the URL of a webhook first.")).to_be_visible()
    url = blank.get_by_label("URL that receives the test event")
    url.fill("http://10.0.0.1/hook")
    url.press("Enter")
    expect(blank.get_by_role("status").filter(has_text="10.0.0.1")).to_be_visible()
    url.fill(f"{hooks.url}/test")
    url.press("Enter")
    expect(blank.get_by_text("The test event was delivered.")).to_be_visible()
    expect(blank.get_by_role("cell", name="thanks")).to_be_visible()
    assert b'"type":"webhook.test"' in hooks.bodies[-1]
