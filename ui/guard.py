"""Around the page: its path prefix, headers that keep browsers to this host, a bound on uploads."""

from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's own scripts and styles stand in the page, and Gradio makes functions of texts.
# Hence 'unsafe-inline' and 'unsafe-eval'. No other host is reached, whatever the page holds.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
_UPLOAD = "/gradio_api/upload"


class Guard:
    """Adds HEADERS to each answer. Refuses uploads while `uploads` holds `max_bytes` or more.

    A proxy may take the path `prefix` off, or leave it on.
    """

    def __init__(self, app: ASGIApp, uploads: Path, max_bytes: int, prefix: str = "") -> None:
        self._app = app
        self._uploads = uploads
        self._max_bytes = max_bytes
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if self._prefix and path.startswith(f"{self._prefix}/"):
            path = path.removeprefix(self._prefix)
            scope = {**scope, "path": path, "raw_path": path.encode()}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app
        if self._prefix and path == self._prefix:  # links in the page begin at a folder
            app = RedirectResponse(f"{self._prefix}/")
        if path.endswith(_UPLOAD) and bytes_in(self._uploads) >= self._max_bytes:
            app = PlainTextResponse(
                "The page holds too many uploaded images. Try again in some minutes.",
                status_code=503,
                headers={"retry-after": "60"},
            )
        await app(scope, receive, send_guarded)


def bytes_in(folder: Path) -> int:
    """The bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # deleted meanwhile
            continue
    return total
