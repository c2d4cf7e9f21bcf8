"""The contents of the container images."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Stack, docker

pytestmark = pytest.mark.integration

# Above the base image.
MAX_BYTES = {"api": 180_000_000, "worker": 385_000_000, "ui": 340_000_000, "cli": 450_000_000}
COMMANDS = {
    **{target: ["python", "-m", target] for target in ("api", "worker", "ui")},
    "cli": ["sluice"],
}


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
    names = ("numpy", "cv2", "tritonclient")
    assert _found(f"sluice-api:{stack.tag}", "python", names) == []


def test_tritons_image_has_what_the_steps_of_ensembles_import(stack: Stack) -> None:
    image = f"sluice-triton:{stack.tag}"
    docker("build", "--target=triton", f"--tag={image}", ".")
    try:
        names = ("cv2", "PIL", "anyascii", "pymupdf_fonts", "sluice", "worker")
        backends = "/opt/tritonserver/backends/python"
        assert _found(image, "python3", names, backends) == list(names)
        assert _image(image)["Config"]["User"] == "10001:10001"
    finally:
        docker("image", "rm", "--force", image)


def _found(image: str, python: str, names: tuple[str, ...], path: str = "") -> list[str]:
    """The modules of `names` that the image's Python finds, in `path` too."""
    look = (
        f"import importlib.util as u, json, sys; sys.path.append({path!r});"
        f" print(json.dumps([name for name in {names!r} if u.find_spec(name)]))"
    )
    found: list[str] = json.loads(
        docker("run", "--rm", f"--entrypoint={python}", image, "-c", look)
    )
    return found
