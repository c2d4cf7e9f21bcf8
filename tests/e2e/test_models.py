"""`sluice models` in its container, on a running stack with two Tritons."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import IMAGE, Stack, docker
from tests.support.client import Client
from tests.support.graphs import constant_outputs, save

pytestmark = pytest.mark.integration

REPOSITORY = "/var/lib/sluice-models"


@pytest.fixture
def stack(stack: Stack) -> Iterator[Stack]:
    """The stack with two Tritons."""
    two = replace(stack, env=stack.env | {"SLUICE_TRITON_CPU_SERVERS": "2"})
    two.compose("up", "--detach", "--wait")
    yield two
    stack.compose("up", "--detach", "--wait")


def detector(path: Path, class_name: str, confidence: float) -> Path:
    """A detector that finds the same object of 32 x 32 pixels in every image of 64 x 64."""
    rows = np.zeros((1, 5, 84), np.float32)  # anchor-free: cx, cy, w, h, and the score of a class
    rows[0, :, 0] = 32, 32, 32, 32, confidence
    facts = {"task": "detect", "names": str({0: class_name}), "imgsz": "[64, 64]"}
    graph = constant_outputs({"output0": rows}, image=(1, 3, 64, 64), metadata=facts)
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)  # the container's user reads it
    return save(graph, path)


def found(client: Client, model: str) -> list[tuple[str, float]]:
    prediction = client.wait(client.submit(IMAGE, model=model)["id"], timeout_s=60)
    assert prediction["status"] == "succeeded", prediction
    boxes = prediction["output"]["predictions"]
    return [(box["class"], round(box["confidence"], 3)) for box in boxes]


def _listed(stack: Stack) -> dict[str, Any]:
    return {model["name"]: model for model in json.loads(stack.models("list", "--json"))}


def test_a_model_is_added_replaced_taken_back_and_removed_while_the_stack_runs(
    stack: Stack, tmp_path: Path
) -> None:
    for name, confidence in (("cat", 0.875), ("dog", 0.75)):
        detector(tmp_path / name / "pet.onnx", name, confidence)
    with Client(stack.url) as client:
        added = json.loads(stack.models("add", "pet.onnx", "--json", files=tmp_path / "cat"))
        assert (added["name"], added["version"], len(added["loaded"])) == ("pet", 1, 2)
        assert found(client, "pet") == [("cat", 0.875)]
        assert "version 2" in stack.models("add", "pet.onnx", files=tmp_path / "dog")
        assert found(client, "pet") == [("dog", 0.75)]
        stack.models("rollback", "pet")
        assert found(client, "pet") == [("cat", 0.875)]
        stack.compose("restart", "triton")
        stack.compose("up", "--detach", "--wait")
        states = _listed(stack)["pet"]["triton"]
        assert [state["versions"] for state in states.values()] == [[1], [1]]
        assert found(client, "pet") == [("cat", 0.875)]
        stack.models("remove", "pet")
    assert "pet" not in _listed(stack)


def test_a_name_of_the_checkouts_models_is_refused_and_they_go_on(
    stack: Stack, tmp_path: Path
) -> None:
    detector(tmp_path / "codes.onnx", "cat", 0.75)
    with pytest.raises(AssertionError, match="choose another --name"):
        stack.models("add", "codes.onnx", files=tmp_path)
    with Client(stack.url) as client:
        assert {name for name, _ in found(client, "codes")} <= {"qr_code", "barcode", "marker"}
    assert "codes" not in _listed(stack)


def test_a_file_can_be_piped_to_the_command(stack: Stack, tmp_path: Path) -> None:
    detector(tmp_path / "pet.onnx", "cat", 0.75).chmod(0o600)
    with (tmp_path / "pet.onnx").open("rb") as file:
        stack.compose(
            *("run", "--rm", "--no-TTY", "--entrypoint", "sh", "models", "-c"),
            "cat >/tmp/piped.onnx && sluice models add /tmp/piped.onnx",
            stdin=file,
        )
    assert _listed(stack)["piped"]["version"] == 1
    stack.models("remove", "piped", "--now")


@pytest.mark.parametrize("folder", [REPOSITORY, "/models"])
def test_triton_can_write_into_no_model_repository(stack: Stack, folder: str) -> None:
    triton = stack.containers("triton")[0]["Id"]
    with pytest.raises(AssertionError, match="Read-only file system"):
        docker("exec", triton, "touch", f"{folder}/file")
