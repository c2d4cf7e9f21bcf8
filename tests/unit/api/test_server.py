"""The server sleeps until a signal."""

import asyncio
import signal

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api import server
from api.connection import State

pytestmark = pytest.mark.anyio


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing is asked."""


async def test_a_signal_ends_the_server_though_it_looks_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_TICK_S", 3600.0)
    config = uvicorn.Config(_app, log_config=None)
    config.load()
    serving = server.Server(config, State(1), linger_s=0, wake=lambda: None)
    ticks = []
    tick = serving.on_tick

    async def count(counter: int) -> bool:
        ticks.append(counter)
        return await tick(counter)

    monkeypatch.setattr(serving, "on_tick", count)
    running = asyncio.create_task(serving.main_loop())
    while not ticks:
        await asyncio.sleep(0)
    await asyncio.to_thread(serving.handle_exit, signal.SIGTERM, None)
    await asyncio.wait_for(running, 30)
    assert len(ticks) == 2
