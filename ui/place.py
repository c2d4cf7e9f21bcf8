"""Components that several events fill: of two answers, the one that was asked for last is shown.

Two loads may run at the same time: the person enters a key, and turns the page. Without an order
the slower answer is shown, even if the person asked for it first.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.context import PRIVATE

# The browser's clock gives the order: two events may reach the server the other way round.
_NOW = "(_, last, ...values) => [performance.now(), last, ...values]"


@dataclass(eq=False)  # Gradio tells states apart by hash
class Last:
    """When the newest event of one open page happened, in ms of the browser's clock."""

    asked_ms: float = -math.inf


def newest_wins(
    load: Callable[..., Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    """Return `load` with two more inputs: the event's time in ms, and the page's `Last`.

    The result is `gr.skip()` where a later event has come.
    """

    async def filled(asked_ms: float, last: Last, *values: Any) -> Any:
        if asked_ms < last.asked_ms:
            return gr.skip()
        last.asked_ms = asked_ms
        result = await load(*values)
        return gr.skip() if asked_ms < last.asked_ms else result

    return filled


class Place:
    """The components `outputs`, filled by several events."""

    def __init__(self, outputs: Sequence[Any]) -> None:
        self._outputs = list(outputs)
        self._asked, self._last = gr.Number(0, visible=False), gr.State(Last())

    def fill(
        self,
        events: Sequence[Callable[..., Any]],
        load: Callable[..., Awaitable[Any]],
        inputs: Sequence[Any],
    ) -> None:
        """After each of the events, show what `load` returns for the inputs' values."""
        given = [self._asked, self._last, *inputs]
        for event in events:
            event(newest_wins(load), given, self._outputs, js=_NOW, **PRIVATE)
