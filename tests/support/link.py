"""A proxy of tests/chaos on a thread, for tests that are no coroutines."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.proxy import Address, Proxy


class Link:
    """A link to a server. A test may change the server, and have the link lose all that passes."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._proxy = Proxy("link", lambda: self.target)

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Bytes are lost, and no side learns of it: connections of now for good, new ones until
        the end of the block.
        """
        self._loop.call_soon_threadsafe(self._proxy.hole, random.Random(0), 1.0)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._proxy.heal_hole)

    @contextmanager
    def running(self) -> Iterator["Link"]:
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            self.port = asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result(30)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._proxy.stop(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()
