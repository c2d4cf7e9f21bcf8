"""A TCP proxy on loopback that can harm what passes through it, in four ways.

- cut: connections end at once, with a reset.
- hole: connections go silent for good, as when a firewall forgets them. Bytes are swallowed, and no
  side learns of an end. New connections are silent until the heal.
- refusal: connections end at once, and so does each new one until the heal.
- stall: bytes arrive later, so that a request may still be done after its client gave up.
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from contextlib import suppress

Address = tuple[str, int]
_CHUNK_BYTES = 65_536


class Proxy:
    """One link. `target` gives each connection's address; an error there refuses the connection."""

    def __init__(self, name: str, target: Callable[[], Address]) -> None:
        self.name = name
        #: The number of connections so far.
        self.accepted = 0
        self._target = target
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._holes = 0
        self._refusals = 0
        self._stalls = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Listen, with TLS where it is given; returns the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, rng: random.Random, share: float) -> int:
        """End a share of the connections; returns how many."""
        chosen = self._choose(rng, share)
        for link in chosen:
            link.abort()
        return len(chosen)

    def hole(self, rng: random.Random, share: float) -> int:
        """Silence a share of the connections for good, and all new ones until `heal_hole`."""
        chosen = self._choose(rng, share)
        for link in chosen:
            link.silent = True
        self._holes += 1
        return len(chosen)

    def heal_hole(self) -> None:
        self._holes -= 1

    def refuse(self) -> None:
        """End all connections, and each new one until `heal_refusal`."""
        self._refusals += 1
        for link in self._links:
            link.abort()

    def heal_refusal(self) -> None:
        self._refusals -= 1

    def stall(self) -> None:
        self._stalls += 1
        self._flow.clear()

    def heal_stall(self) -> None:
        self._stalls -= 1
        if not self._stalls:
            self._flow.set()

    def _choose(self, rng: random.Random, share: float) -> "list[_Link]":
        return [
            link
            for link in sorted(self._links, key=lambda link: link.number)
            if rng.random() < share
        ]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(writer)
        self._links.add(link)
        self.accepted += 1
        try:
            await self._serve(link, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.abort()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _serve(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._flow.wait()
        if self._refusals:
            return
        if self._holes:
            while await reader.read(_CHUNK_BYTES):
                pass
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target())
        except (OSError, LookupError):
            return
        link.writers.append(upstream_writer)
        pumps = [
            asyncio.create_task(self._pump(link, reader, upstream_writer)),
            asyncio.create_task(self._pump(link, upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if link.silent:  # neither side learns that the other has ended
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._flow.wait()
                if not link.silent:
                    writer.write(data)
                    await writer.drain()
            await self._flow.wait()


class _Link:
    """One connection through the proxy: the client's socket and, once connected, the server's."""

    _count = 0

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        _Link._count += 1
        self.number = _Link._count
        self.writers = [writer]
        self.silent = False

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
