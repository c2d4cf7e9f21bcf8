"""The contents of the container images."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack, docker
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

# Above the base image.
MAX_BYTES = {"api": 115_000_000, "worker": 350_000_000, "ui": 325_000_000, "cli": 412_000_000}
COMMANDS = {
    **{target: ["python", "-m", target] for target in ("api", "worker", "ui")},
    "cli": ["sluice"],
}

# Waits for a recipe, sends it the standard input, and prints what it found.
CALL = """
import json, sys, time, urllib.request as request
for _ in range(300):
    try:
        request.urlopen("http://127.0.0.1:8080/healthz", timeout=5)
        break
    except OSError:
        time.sleep(0.2)
head = {"Content-Type": "application/json"}
call = request.Request("http://127.0.0.1:8080/", sys.stdin.buffer.read(), head)
answer = json.load(request.urlopen(call, timeout=60))
print(json.dumps([answer["results"], answer["image"][:4]]))
"""


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


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_image_of_a_recipe_answers_a_call(stack: Stack, tmp_path: Path, kind: str) -> None:
    """The image runs as in `k8s/components/cookbook`, before the stack's Triton."""
    image, container = f"sluice-recipe:{stack.tag}", f"{stack.project}-recipe"
    docker("build", "--target=recipe", f"--tag={image}", ".")
    body = tmp_path / "body.json"
    photo = (ROOT / "samples" / "desk.jpg").read_bytes()
    body.write_text(json.dumps({"image": base64.b64encode(photo).decode()}))
    run = ["run", "--detach", f"--name={container}", f"--network={stack.project}_inside"]
    run += ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", image, kind]
    options = ["--host=0.0.0.0", "--port=8080", "--triton=dns:///triton:8001", "--model=codes"]
    try:
        docker(*run, *options)
        with body.open("rb") as file:
            answer = docker("exec", "-i", container, "python", "-c", CALL, stdin=file)
        found, drawing = json.loads(answer)
        assert found
        assert drawing == "/9j/"  # a JPEG begins so in base64
        assert _image(image)["Config"]["User"] == "10001:10001"
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
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
