"""One run of the tab Try: images that are submitted together, each followed to its end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sluice.client import AsyncClient, Prediction, ServiceError
from sluice.client.calls import Options
from ui.session import sentence

AT_ONCE = 4  # submissions at a time of one run
_POLL_S = 1.0  # for which one question waits: the place in the queue is as fresh
_RETRY_FOR_S = 30.0  # for which an overloaded service is asked again
_LOST_S = 120.0  # without an answer, after which a prediction is followed no longer
_PAUSE_S = 1.0

#: The states of an image on the page: those of its prediction, and three before and beside.
WAITING, SENDING, REFUSED = "waiting", "sending", "refused"
ENDED = frozenset({REFUSED, "succeeded", "failed", "canceled", "aborted"})


@dataclass
class Item:
    """One image of a run."""

    name: str
    path: Path
    state: str = WAITING
    prediction: Prediction | None = None
    note: str | None = None
    """A sentence: the reason for an end without a result, or for a delay."""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def update(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.state = prediction.status
        self.note = prediction.error

    def refuse(self, reason: str) -> None:
        self.state, self.note = REFUSED, reason


@dataclass
class Run:
    """The images of one person, from `go` to their ends. `cancel` ends the run early."""

    items: list[Item]
    options: Options
    selected: int = 0
    """The place of the image whose result is shown."""
    clock: Callable[[], float] = time.monotonic
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _canceled: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, images: Sequence[tuple[str, Path]], options: Options) -> "Run":
        """A run of images, each with its name and its file."""
        return cls([Item(name, path) for name, path in images], options)

    @property
    def ended(self) -> bool:
        return all(item.ended for item in self.items)

    async def go(self, client: AsyncClient) -> None:
        """Submit all images, and follow each to its end. Raises no error of the service."""
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for item in self.items:
                group.create_task(self._handle(client, item, places))

    async def changed(self, within_s: float) -> None:
        """Wait until an image has changed, at most `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        self._changed.clear()

    async def cancel(self, client: AsyncClient) -> str | None:
        """Cancel what has not ended. Returns a sentence where the service could not."""
        self._canceled.set()
        problem = None
        for item in self.items:
            if item.prediction is None or item.ended:
                continue
            try:
                item.update(await client.cancel(item.prediction.id))
            except ServiceError as error:
                if error.status != 409:  # it has ended meanwhile, and the follower will see
                    problem = sentence(error)
        self._changed.set()
        return problem

    async def _handle(self, client: AsyncClient, item: Item, places: asyncio.Semaphore) -> None:
        try:
            async with places:
                await self._submit(client, item)
            while not item.ended:
                await self._follow(client, item)
        except OSError:
            item.refuse("The uploaded file is gone. Upload the image again.")
        self._changed.set()

    async def _submit(self, client: AsyncClient, item: Item) -> None:
        """Submit, also to a service that is overloaded for a while."""
        end = self.clock() + _RETRY_FOR_S
        while not self._canceled.is_set():
            item.state = SENDING
            self._changed.set()
            try:
                item.update(await client.submit(item.path, **self.options))
                self._changed.set()
                return None
            except ServiceError as error:
                pause_s = error.retry_after_s
                if pause_s is None or self.clock() + pause_s > end:
                    return item.refuse(sentence(error))
                item.state, item.note = WAITING, sentence(error)
                self._changed.set()
            await self._rest(pause_s)
        item.state, item.note = "canceled", "Canceled before the image was submitted."
        return None

    async def _follow(self, client: AsyncClient, item: Item) -> None:
        """Ask for the prediction until an answer comes. The prediction goes on meanwhile."""
        assert item.prediction is not None
        begin = self.clock()
        while not item.ended:
            try:
                item.update(await client.get(item.prediction.id, wait_s=_POLL_S))
                self._changed.set()
                if not item.ended and self.clock() - begin < _POLL_S / 2:
                    await asyncio.sleep(_POLL_S / 2)  # a busy api holds no answer
                return None
            except ServiceError as error:
                item.note = sentence(error)
                if error.status in (401, 404, 410) or self.clock() - begin > _LOST_S:
                    return item.refuse(item.note)
                self._changed.set()
                await asyncio.sleep(error.retry_after_s or _PAUSE_S)
        return None

    async def _rest(self, seconds: float) -> None:
        """A pause that `cancel` ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._canceled.wait()
