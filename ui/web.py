"""The page as an ASGI application, with headers for browsers and a bound on uploads."""

from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.types import ASGIApp

from sluice.settings import UiSettings
from ui import page
from ui.guard import Guard


def create_app(settings: UiSettings, uploads: Path) -> ASGIApp:
    """The application. Gradio keeps uploaded images in the folder `uploads`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    blocks = page.build(settings)
    blocks.queue(
        api_open=False,
        default_concurrency_limit=settings.max_runs,
        max_size=10 * settings.max_runs,
    )
    blocks.state_session_capacity = settings.max_sessions  # only `launch` takes it as an argument
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        root_path=settings.root_path or None,
        max_file_size=settings.max_image_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=page.theme(),
        css_paths=page.CSS,
        js=page.JS.read_text(),
    )
    return Guard(app, uploads, settings.max_upload_bytes, settings.root_path)
