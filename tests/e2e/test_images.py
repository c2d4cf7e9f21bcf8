"""The contents of the container images."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Stack, docker

pytestmark = pytest.mark.integration

MAX_BYTES = {"api": 180_000_000, "worker": 370_000_000, "cli": 450_000_000}  # above the base image
COMMANDS = {"api": ["python", "-m", "api"], "worker": ["python", "-m", "worker"], "cli": ["sluice"]}


def _image(name: str) -> dict[str, Any]:
    image: dict[str, Any] = json.loads(docker("image", "inspect", name))[0]
    return image


@pytest.mark.parametrize("target", MAX_BYTES)
def test_an_image_is_small_and_runs_without_privileges(stack: Stack, target: str) -> None:
    image = _image(f"sluice-{target}:{stack.tag}")
    assert image["Size"] - _image("python:3.13-slim-trixie")["Size"] <= MAX_BYTES[target]
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == COMMANDS[target]
    if target != "cli":  # a command, which serves nothing
        assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.version"] == stack.tag


@pytest.mark.parametrize("target", MAX_BYTES)
def test_an_image_has_no_compiler_and_no_package_cache(stack: Stack, target: str) -> None:
    look = (
        "! command -v gcc cc g++ make"
        f" && ! find /opt/{target} / -xdev -path '*/.cache/*' -type f 2>/dev/null | grep ."
        " && id -u"
    )
    run = [
        "run",
        "--rm",
        "--read-only",
        "--cap-drop=ALL",
        "--entrypoint=sh",
        f"sluice-{target}:{stack.tag}",
    ]
    assert docker(*run, "-c", look).strip() == "10001"


def test_the_api_image_has_no_pixel_libraries(stack: Stack) -> None:
    look = (
        "import importlib.util as u;"
        " print([name for name in ('numpy', 'cv2', 'tritonclient') if u.find_spec(name)])"
    )
    assert (
        docker("run", "--rm", "--entrypoint=python", f"sluice-api:{stack.tag}", "-c", look).strip()
        == "[]"
    )
