"""The tab Operate: the last hour, what failed and why, and the models. For operators."""

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from sluice.client import ServiceError
from sluice.client.results import Delivery, Model, Page
from ui.cards import title
from ui.context import PRIVATE, Context
from ui.held import Held
from ui.markup import error_notice, host_of, notice, table, time_of
from ui.plots import numbers, plots

REFRESH_S = 5.0
PAGE = 10
_EMPTY: Page[Any] = Page((), None, None)


def build(context: Context, tab: gr.Tab) -> None:
    """Build the tab inside the Blocks that are open."""
    gr.HTML("<h2>The last hour</h2>")
    load = gr.HTML()
    with gr.Accordion("The same numbers as a table", open=False):
        in_numbers = gr.HTML()
    timer = gr.Timer(REFRESH_S, active=False)

    async def read_load(key: str) -> tuple[str, str]:
        try:
            async with context.access.client(key) as client:
                minutes = await client.timeline()
        except ServiceError as error:
            return error_notice(error), ""
        return plots(minutes), numbers(minutes)

    tab.select(lambda: gr.Timer(active=True), None, timer, **PRIVATE)
    for event in (tab.select, timer.tick, context.entered.change):
        event(read_load, context.key, [load, in_numbers], **PRIVATE)
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
    page = gr.State(Held(_EMPTY))
    message = gr.HTML()
    with gr.Row():
        refresh = gr.Button(f"Read the list of {kind} entries again", size="sm")
        following = gr.Button("Older", size="sm", interactive=False)
    outputs = [page, message, following]

    async def load(key: str, cursor: str | None, done: str = "") -> list[Any]:
        try:
            found = await read(key, cursor)
        except ServiceError as error:
            return [Held(_EMPTY), error_notice(error), gr.Button(interactive=False)]
        count = f"{len(found.results)} on this page." if found.results else f"No {kind}."
        return [
            Held(found),
            notice(f"{done} {count}".strip()),
            gr.Button(interactive=found.next is not None),
        ]

    async def load_first(key: str) -> list[Any]:
        return await load(key, None)

    async def load_next(key: str, page: Held[Page[Any]]) -> list[Any]:
        return await load(key, page.value.next)

    for event in (refresh.click, tab.select, context.entered.change):
        event(load_first, context.key, outputs, **PRIVATE)
    following.click(load_next, [context.key, page], outputs, **PRIVATE)
    word, do = action

    def act_on(id_: str) -> Callable[[str, Held[Page[Any]]], Awaitable[list[Any]]]:
        async def act(key: str, page: Held[Page[Any]]) -> list[Any]:
            try:
                done = await do(key, id_)
            except ServiceError as error:
                return [page, error_notice(error), gr.Button()]
            return await load(key, None, done)

        return act

    # Gradio is not installed where mypy runs.
    @gr.render(inputs=[page], triggers=[page.change])  # type: ignore[untyped-decorator]
    def render(found: Held[Page[Any]]) -> None:
        for entry in found.value.results:
            with gr.Row(equal_height=False, elem_classes="entry"):
                with gr.Column(scale=5, min_width=240):
                    gr.HTML(text(entry))
                with gr.Column(scale=1, min_width=140):
                    button = gr.Button(f"{word} {entry.id}", size="sm")
                button.click(act_on(entry.id), [context.key, page], outputs, **PRIVATE)


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

    for event in (tab.select, context.entered.change):
        event(read, context.key, listed, **PRIVATE)


def _model(model: Model) -> list[object]:
    state = "ready" if model.ready else f"not ready: {model.reason}"
    default = "yes" if model.default else ""
    runs = model.raw["run_count"]
    return [model.name, state, model.version, model.task, len(model.classes), runs, default]
