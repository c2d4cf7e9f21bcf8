"""A proxy that swallows what connections carry, for tests without an event loop."""

import asyncio
import random
import threading

from tests.chaos.proxy import Proxy


class Proxied:
    """A proxy before a server, on an event loop in a thread."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self.proxy = Proxy(f"{host}:{port}", lambda: (host, port))
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> "Proxied":
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self.proxy.start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def silence(self) -> None:
        """Swallow all that open connections send, and close none; new connections work."""

        def hole() -> None:
            self.proxy.hole(random.Random(1), share=1.0)
            self.proxy.heal_hole()

        self._loop.call_soon_threadsafe(hole)

    def begin_partition(self) -> None:
        """Swallow all that open and new connections send, and close none."""
        self._loop.call_soon_threadsafe(self.proxy.hole, random.Random(1), 1.0)

    def end_partition(self) -> None:
        """New connections work. The ones of before stay silent."""
        self._loop.call_soon_threadsafe(self.proxy.heal_hole)
