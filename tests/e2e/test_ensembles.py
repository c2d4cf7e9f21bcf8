"""An ensemble in Triton's image with the packages of its steps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE, Stack, docker
from tests.e2e.test_models import detector, found
from tests.support.client import Client

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(stack: Stack) -> Iterator[Stack]:
    """The stack with Triton's image of the Dockerfile's target `triton`."""
    image = f"sluice-triton:{stack.tag}"
    docker("build", "--target", "triton", "--tag", image, ".")
    try:
        other = replace(stack, env=stack.env | {"SLUICE_TRITON_IMAGE": image})
        other.compose("up", "--detach", "--wait")
        yield other
        stack.compose("up", "--detach", "--wait")
    finally:
        docker("image", "rm", "--force", image)


def test_an_ensemble_runs_in_containers(stack: Stack, tmp_path: Path) -> None:
    detector(tmp_path / "pet.onnx", "cat", 0.875)
    with Client(stack.url) as client:
        stack.models("add", "pet.onnx", "--ensemble", files=tmp_path)
        assert found(client, "pet") == [("cat", 0.875)]
        ended = client.wait(client.submit(IMAGE, model="pet", visualize=True)["id"])
        assert "triton_time" in ended["metrics"]
        assert client.annotated(ended["id"]).startswith(b"\xff\xd8")
    stack.models("remove", "pet", "--now")
