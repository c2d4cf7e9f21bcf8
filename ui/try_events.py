"""The events of the tab Try: what happens when a person enters a key, runs, cancels or selects."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from sluice.client import AsyncClient, ServiceError
from sluice.settings import UiSettings
from ui import render, snippets
from ui.choices import Choices, options
from ui.run import Item, Run
from ui.session import Access, sentence

#: The languages of the snippets, with Gradio's names for them.
LANGUAGES = {"curl": "shell", "Python": "python", "JavaScript": "javascript"}

_REFRESH_S = 0.2  # at least, between two pictures of a run
_IDLE_S = 1.0
# The values of the two buttons, and of the components that show one image.
_IDLE = (gr.update(interactive=True), gr.update(interactive=False))
_BUSY = (gr.update(interactive=False), gr.update(interactive=True))
_HIDDEN = (gr.update(visible=False), *("",) * (1 + len(LANGUAGES)))
_NOTHING = ("", *_HIDDEN)
_UNCHANGED = (gr.skip(),) * len(_NOTHING)


class TryEvents:
    """The handlers. A run is in the session's state, and no handler keeps anything."""

    def __init__(self, settings: UiSettings, access: Access) -> None:
        self._settings = settings
        self._access = access

    async def load_models(self, key: str) -> tuple[Any, ...]:
        """The models that are ready, and a sentence where the service refuses to name them."""
        try:
            async with self._access.client(key) as client:
                models = [model for model in await client.models() if model.ready]
        except ServiceError as error:
            return {}, gr.update(choices=[], value=None), _notice(sentence(error))
        default = next((model.name for model in models if model.default), None)
        names = [(f"{model.name} ({model.task})", model.name) for model in models]
        chosen = default or (models[0].name if models else None)
        classes = {model.name: list(dict.fromkeys(model.classes)) for model in models}
        return (
            classes,
            gr.update(choices=names, value=chosen),
            "" if models else _notice("No model is ready."),
        )

    async def run(
        self, key: str, files: list[str] | None, webcam: str | None, *chosen: Any
    ) -> AsyncIterator[Any]:
        """Submit all images, and show them until each has ended."""
        images = [(Path(path).name, Path(path)) for path in files or []]
        images += [("webcam", Path(webcam))] if webcam else []
        problem = _too_many(images, self._settings.max_images)
        if problem:
            yield (*_IDLE, _notice(problem), None, "", *_NOTHING)
            return
        run = Run.of(images, options(Choices(*chosen)))
        try:
            async with self._access.client(key) as client:
                yield (*_BUSY, "", run, render.listing(run.items, run.selected), *_NOTHING)
                async for ended, one in self._follow(key, run, client):
                    buttons = _IDLE if ended else _BUSY
                    listing = render.listing(run.items, run.selected)
                    yield (*buttons, gr.skip(), gr.skip(), listing, *one)
        except ServiceError as error:
            yield (*_IDLE, _notice(sentence(error)), None, "", *_NOTHING)

    async def _follow(
        self, key: str, run: Run, client: AsyncClient
    ) -> AsyncIterator[tuple[bool, tuple[Any, ...]]]:
        """Yield whether the run has ended, and the values that show the selected image."""
        work = asyncio.create_task(run.go(client))
        shown: Item | None = None
        try:
            ended = False
            while not ended:
                await run.changed(_IDLE_S)
                ended, item = work.done(), run.items[run.selected]
                fresh = item.ended and item is not shown
                shown = item if fresh else shown
                yield ended, await self._show(key, run) if fresh else _UNCHANGED
                await asyncio.sleep(_REFRESH_S)
            work.result()
        finally:
            work.cancel()

    async def cancel(self, key: str, run: Run | None) -> str:
        if run is None:
            return ""
        try:
            async with self._access.client(key) as client:
                problem = await run.cancel(client)
        except ServiceError as error:
            problem = sentence(error)
        return _notice(problem) if problem else ""

    async def select(self, key: str, run: Run | None, event: gr.EventData) -> tuple[Any, ...]:
        """Show another image of the run."""
        number = int(event.index)
        if run is None or not 0 <= number < len(run.items):
            return (gr.skip(), *_UNCHANGED)
        run.selected = number
        return render.listing(run.items, number), *await self._show(key, run)

    async def _show(self, key: str, run: Run) -> tuple[Any, ...]:
        """The values of the components that show the selected image."""
        item, annotated, problem = run.items[run.selected], None, None
        prediction = item.prediction
        if prediction is not None and prediction.output is not None:
            try:
                async with self._access.client(key) as client:
                    annotated = await client.annotated(prediction.id)
            except ServiceError as error:
                problem = sentence(error)
        html = render.result(item, annotated, problem)
        if prediction is None:
            return html, *_HIDDEN
        url = snippets.base_url(prediction.raw, self._settings.api_url)
        texts = [
            write(url, item.name, run.options, with_key=bool((key or "").strip()))
            for write in (snippets.curl, snippets.python, snippets.javascript)
        ]
        return html, gr.update(visible=True), json.dumps(prediction.raw, indent=2), *texts


def _too_many(images: list[tuple[str, Path]], limit: int) -> str | None:
    if not images:
        return "Choose an image first."
    if len(images) > limit:
        return f"{len(images)} images are too many: the page runs {limit} in one go."
    return None


def _notice(sentence_: str) -> str:
    return f'<p class="notice" role="alert">{render.text(sentence_)}</p>'
