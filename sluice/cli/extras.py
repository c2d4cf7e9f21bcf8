"""The extras of the package: a command names the one that it needs before it starts."""

from collections.abc import Mapping
from importlib.util import find_spec

from sluice.cli.console import fail

PROBES: Mapping[str, tuple[str, ...]] = {
    "operator": ("celery", "redis", "pydantic_settings", "PIL"),
    "models": ("celery", "redis", "pydantic_settings", "cv2", "tritonclient", "onnx"),
    "local": ("celery", "redis", "fastapi", "uvicorn", "cv2", "tritonclient", "onnxruntime"),
    "video": ("cv2",),
}
"""Modules of each extra; if one can't be found, the extra is not installed."""


def need(extra: str) -> None:
    """End the command with the status 1 and the line to type, unless `extra` is installed."""
    if missing(extra):
        fail(f"more packages are needed for this: pip install 'sluice[{extra}]'")


def missing(extra: str) -> list[str]:
    """Return the modules of `extra` that can't be found. Nothing is imported."""
    return [name for name in PROBES[extra] if find_spec(name) is None]
