"""The tab Operate: the last hour, what failed and why, and the models. For operators."""

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from sluice.client import ServiceError
from sluice.client.results import Delivery, Model, Page
from ui.cards import title
from ui.context import PRIVATE, Context
from ui.markup import PICK, button, error_notice, host_of, notice, table, time_of
from ui.place import Place
from ui.plots import numbers, plots

REFRESH_S = 5.0
PAGE = 10
# Another pulse while the plots are in sight, else the same as before. Then nothing is asked.
_PULSE = """(before) => {
  const plots = document.getElementById("load");
  return plots?.checkVisibility() && !document.hidden ? Date.now() : before;
}"""


def build(context: Context, tab: gr.Tab) -> None:
    """Build the tab inside the Blocks that are open."""
    gr.HTML("<h2>The last hour</h2>")
    load = gr.HTML(elem_id="load")
    with gr.Accordion("The same numbers as a table", open=False):
        in_numbers = gr.HTML()
    pulse = gr.Number(0, visible="hidden", elem_id="pulse")

    async def read_load(key: str) -> tuple[str, str]:
        try:
            async with context.access.client(key) as client:
                minutes = await client.timeline()
        except ServiceError as error:
            return error_notice(error), ""
        return plots(minutes), numbers(minutes)

    gr.Timer(REFRESH_S).tick(None, pulse, pulse, js=_PULSE, **PRIVATE)
    events = (tab.select, pulse.change, context.entered.change)
    Place([load, in_numbers]).fill(events, read_load, [context.key])
    _build_dead_letters(context, tab)
    _build_deliveries(context, tab)
    _build_models(context, tab)


def _build_dead_letters(context: Context, tab: gr.Tab) -> None:
    gr.HTML("<h2>Dead letters</h2>")

    async def read(key: str, cursor: str | None) -> Page[Any]:
        async with context.access.client(key) as client:
            return await client.dead_letters(cursor, limit=PAGE)

    async def requeue(key: str, id_: str) -> str:
        async with context.access.client(key) as client:
            prediction = await client.requeue(id_)
        return f"Requeued as {prediction.id}."

    def text(letter: Any) -> str:
        cells: list[list[object]] = [
            ["image", title(letter)],
            ["key", letter.raw.get("key_name")],
            ["model", letter.model],
            ["ended", time_of(letter.completed_at)],
            ["reason", letter.error],
            ["log", letter.raw["logs"]],
        ]
        return table(f"Dead letter {letter.id}", ["field", "value"], cells)

    _build_list(context, tab, "dead letter", read, text, ("Requeue", requeue))


def _build_deliveries(context: Context, tab: gr.Tab) -> None:
    gr.HTML("<h2>Failed deliveries</h2>")

    async def read(key: str, cursor: str | None) -> Page[Any]:
        async with context.access.client(key) as client:
            return await client.failed_deliveries(cursor, limit=PAGE)

    async def redeliver(key: str, id_: str) -> str:
        async with context.access.client(key) as client:
            delivery = await client.redeliver(id_)
        return f"Delivery {id_} is {delivery.status}."

    _build_list(context, tab, "failed delivery", read, _delivery, ("Redeliver", redeliver))


def _delivery(delivery: Delivery) -> str:
    log = delivery.raw["log"]
    last = log[-1] if log else {}
    cells: list[list[object]] = [
        ["event", delivery.type],
        ["host", host_of(delivery.url)],
        ["key", delivery.raw.get("key_name")],
        ["reason", delivery.reason],
        ["attempts", delivery.attempts],
        ["last attempt", time_of(last.get("at"))],
        ["last answer", last.get("error") or last.get("status")],
    ]
    return table(f"Delivery {delivery.id}", ["field", "value"], cells)


def _build_list(
    context: Context,
    tab: gr.Tab,
    kind: str,
    read: Callable[[str, str | None], Awaitable[Page[Any]]],
    text: Callable[[Any], str],
    action: tuple[str, Callable[[str, str], Awaitable[str]]],
) -> None:
    """A list in pages, with a button for each entry.

    `action`: the button's text, and what it does.
    """
    cursor = gr.State(None)
    # Apart from the list: a reading that began before the action may end after it.
    outcome = gr.HTML()
    message = gr.HTML()
    with gr.Row():
        refresh = gr.Button(f"Read the list of {kind} entries again", size="sm")
        following = gr.Button("Older", size="sm", interactive=False)
    entries = gr.HTML(js_on_load=PICK)
    listed = Place([entries, cursor, message, following])
    word, do = action

    async def load(key: str, cursor: str | None) -> list[Any]:
        try:
            page = await read(key, cursor)
        except ServiceError as error:
            return ["", None, error_notice(error), gr.Button(interactive=False)]
        count = f"{len(page.results)} on this page." if page.results else f"No {kind}."
        shown = (f"{text(entry)}{button(entry.id, f'{word} {entry.id}')}" for entry in page.results)
        return [
            "".join(f'<div class="entry">{entry}</div>' for entry in shown),
            page.next,
            notice(count),
            gr.Button(interactive=page.next is not None),
        ]

    async def load_first(key: str) -> list[Any]:
        return await load(key, None)

    async def act(key: str, event: gr.EventData) -> str:
        try:
            return notice(await do(key, event.id))
        except ServiceError as error:
            return error_notice(error)

    acted = entries.select(act, context.key, outcome, **PRIVATE)
    first = (refresh.click, tab.select, context.entered.change, acted.then)
    listed.fill(first, load_first, [context.key])
    listed.fill([following.click], load, [context.key, cursor])


def _build_models(context: Context, tab: gr.Tab) -> None:
    gr.HTML("<h2>Models</h2>")
    listed = gr.HTML()

    async def read(key: str) -> str:
        try:
            async with context.access.client(key) as client:
                models = await client.models()
        except ServiceError as error:
            return error_notice(error)
        return table(
            "Models",
            ["name", "state", "version", "task", "classes", "images run", "default"],
            list(map(_model, models)),
        )

    Place([listed]).fill((tab.select, context.entered.change), read, [context.key])


def _model(model: Model) -> list[object]:
    state = "ready" if model.ready else f"not ready: {model.reason}"
    default = "yes" if model.default else ""
    runs = model.raw["run_count"]
    return [model.name, state, model.version, model.task, len(model.classes), runs, default]
