"""What the images install is all that the code asks for, at the versions that the tests ran with."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

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
    [("api", ["api", "cli", "ed25519", "s3"]), ("worker", ["worker", "ed25519", "s3"])],
)
def test_an_image_gets_all_that_its_code_asks_for(image: str, extras: list[str]) -> None:
    asked = [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]
    pins = _pins(image)
    for requirement in map(Requirement, asked):
        assert any(
            requirement.specifier.contains(version) for version in pins.get(requirement.name, ())
        ), f"constraints/{image}.txt has no {requirement}; run `make constraints`"


@pytest.mark.parametrize("image", ["api", "worker"])
def test_an_image_gets_what_was_tested(image: str) -> None:
    tested = _pins("dev")
    assert {
        name: versions
        for name, versions in _pins(image).items()
        if not versions <= tested.get(name, set())
    } == {}
