"""The page's process: `python -m ui`."""

import os
import sys
import tempfile
from pathlib import Path

from sluice import logs
from sluice.settings import Settings, UiSettings

GRACE_S = 2


def main() -> None:
    """Serve the page until SIGTERM or SIGINT.

    Raises SystemExit for a wrong setting, and without Gradio, with a message that says what to do.
    """
    try:
        settings = Settings.from_env()
    except ValueError as error:
        sys.exit(f"the page can't start: {error}")
    logs.configure(settings.log, "ui")
    with tempfile.TemporaryDirectory(prefix="sluice-ui-") as uploads:
        _prepare_gradio(Path(uploads))
        _serve(settings.ui, Path(uploads))


def _prepare_gradio(uploads: Path) -> None:
    """Gradio reads the environment when it is imported."""
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        # pandas and orjson need no threads of their own here.
        "OPENBLAS_NUM_THREADS": "1",
    }


def _serve(settings: UiSettings, uploads: Path) -> None:
    try:
        import uvicorn  # noqa: PLC0415  # after the environment is set

        from ui.web import create_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(
            f"the page needs the package {error.name}: run `sluice up --ui`, or install"
            " `sluice[ui]` in an environment of its own"
        )
    uvicorn.run(
        create_app(settings, uploads),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_S,
    )
