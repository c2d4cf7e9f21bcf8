"""Before a route is looked up: HEAD becomes GET, and the path loses prefix and extra slashes."""

import re
from urllib.parse import urlsplit

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SLASHES = re.compile("//+")


class Routing:
    """ASGI middleware. HEAD is GET without the body, and a path may have slashes too many.

    A slash too many is served, not redirected. A redirect behind a proxy may lead to a name that
    only the inside knows.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        services = getattr(scope["app"].state, "services", None)
        public_url = services.settings.api.public_url if services else None
        path = tidy(scope["path"], urlsplit(public_url or "").path)
        if scope["method"] == "HEAD":
            await self._head({**scope, "path": path, "method": "GET"}, receive, send)
        else:
            await self._app({**scope, "path": path}, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the head of GET's answer, and end there: a stream would go on for long."""
        with anyio.CancelScope() as cancel_scope:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body", "body": b""})
                    cancel_scope.cancel()

            await self._app(scope, receive, send_head)


def tidy(path: str, prefix: str) -> str:
    """The path without `prefix`, which a proxy may have left, and without slashes too many."""
    path = _SLASHES.sub("/", path)
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        path = path.removeprefix(prefix)
    return path.rstrip("/") or "/"
