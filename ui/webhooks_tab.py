"""The tab Webhooks: a test event to a URL, and the log of its deliveries."""

from typing import Any

import gradio as gr

from sluice.client import ServiceError
from sluice.client.results import Delivery
from ui.context import PRIVATE, Context
from ui.markup import error_notice, notice, table, time_of

REFRESH_S = 1.0
MAX_LISTED = 20
_OPEN = ("waiting", "held", "sending")


def build(context: Context, tab: gr.Tab) -> None:
    """Build the tab inside the Blocks that are open."""
    gr.HTML(
        "<p>A test event is signed as every other event. The type is <code>webhook.test</code>."
        " One attempt is made.</p>"
    )
    with gr.Row(equal_height=True):
        url = gr.Textbox(
            label="URL that receives the test event",
            placeholder="https://example.com/hook",
            type="text",
            max_lines=1,
            scale=4,
        )
        send = gr.Button("Send a test event", variant="primary", scale=1)
    message = gr.HTML()
    log = gr.HTML(log_table([]))
    deliveries = gr.State([])
    timer = gr.Timer(REFRESH_S, active=False)

    async def send_event(key: str, url: str, sent: list[Delivery]) -> list[Any]:
        if not (url or "").strip():
            text = notice("Enter the URL of a webhook first.", is_error=True)
            return [sent, text, log_table(sent), gr.Timer()]
        try:
            async with context.access.client(key) as client:
                delivery = await client.send_test_event(url.strip())
        except ServiceError as error:
            return [sent, error_notice(error), log_table(sent), gr.Timer()]
        sent = [delivery, *sent][:MAX_LISTED]
        return [
            sent,
            notice("The test event is on its way."),
            log_table(sent),
            gr.Timer(active=True),
        ]

    async def follow(key: str, sent: list[Delivery]) -> list[Any]:
        try:
            async with context.access.client(key) as client:
                sent = [
                    await client.delivery(delivery.id) if delivery.status in _OPEN else delivery
                    for delivery in sent
                ]
        except ServiceError as error:
            return [sent, error_notice(error), log_table(sent), gr.Timer(active=False)]
        goes_on = any(delivery.status in _OPEN for delivery in sent)
        text = outcome(sent[0]) if sent else ""
        return [sent, text, log_table(sent), gr.Timer(active=goes_on)]

    outputs = [deliveries, message, log, timer]
    for event in (send.click, url.submit):
        event(send_event, [context.key, url, deliveries], outputs, **PRIVATE)
    timer.tick(follow, [context.key, deliveries], outputs, **PRIVATE)


def outcome(delivery: Delivery) -> str:
    """The state of the last test event, as a notice."""
    if delivery.status in _OPEN:
        return notice("The test event is on its way.")
    if delivery.status == "delivered":
        return notice("The test event was delivered.")
    last = delivery.raw["log"][-1] if delivery.raw["log"] else {}
    cause = last.get("error") or last.get("status") or delivery.reason
    return notice(f"The test event was not delivered: {cause}.", is_error=True)


def log_table(sent: list[Delivery]) -> str:
    """The test events of this page, with their attempts; the last one first."""
    rows: list[list[object]] = []
    for delivery in sent:
        attempts = delivery.raw["log"] or [{}]
        rows += [
            [
                delivery.id,
                delivery.url,
                delivery.status,
                time_of(attempt.get("at")),
                attempt.get("duration_s"),
                attempt.get("error") or attempt.get("status"),
                attempt.get("answer"),
            ]
            for attempt in attempts
        ]
    head = ["id", "URL", "status", "attempted at (UTC)", "seconds", "answer", "its text"]
    return table("Test events of this page", head, rows)
