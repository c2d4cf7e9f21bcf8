"""The images install every package that the code needs, at the tested versions."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from sluice.local.servers.triton import STEP_PACKAGES
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _pins(image: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^(\S+)==(\S+)", (ROOT / "constraints" / f"{image}.txt").read_text(), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize(
    ("image", "extras"),
    [
        # The first ones are held by the others, by name.
        ("api", ["operator", "api", "otlp", "ed25519", "s3"]),
        ("worker", ["operator", "worker", "otlp", "ed25519", "s3"]),
        ("cli", ["operator", "worker", "models", "s3"]),
    ],
)
def test_an_images_constraints_hold_every_package_that_its_code_needs(
    image: str, extras: list[str]
) -> None:
    asked = [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]
    asked = [line for line in asked if not line.startswith("sluice[")]
    pins = _pins(image)
    for requirement in map(Requirement, asked):
        assert any(
            requirement.specifier.contains(version) for version in pins.get(requirement.name, ())
        ), f"constraints/{image}.txt has no {requirement}; run `make constraints`"


@pytest.mark.parametrize("image", ["api", "worker", "cli"])
def test_an_images_constraints_have_the_tested_versions(image: str) -> None:
    tested = {**_pins("checks"), **_pins("dev")}
    assert {
        name: versions
        for name, versions in _pins(image).items()
        if not versions <= tested.get(name, set())
    } == {}


def test_tritons_image_has_the_packages_of_the_steps_of_ensembles() -> None:
    (line,) = re.findall(r"kept = /\^\((.+)\)==/", (ROOT / "Dockerfile").read_text())
    distributions = {
        "cv2": "opencv-python-headless",
        "PIL": "pillow",
        "pymupdf_fonts": "pymupdf-fonts",
    }
    wanted = {distributions.get(name, name) for name in STEP_PACKAGES} - {"sluice", "worker"}
    assert set(line.split("|")) == wanted <= set(_pins("worker"))


def test_the_build_context_has_every_path_that_the_images_copy() -> None:
    copied = [
        source
        for line in re.findall(
            r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M
        )
        for source in line.split()
    ]
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert "ui" in copied
    lost = [path for path in copied if not any(f"{path}/".startswith(f"{k}/") for k in kept)]
    assert lost == []
