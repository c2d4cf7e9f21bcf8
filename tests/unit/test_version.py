"""The version stands in pyproject.toml; other files that repeat it must agree."""

import re
import tomllib

from tests.support.paths import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
LOCAL = "dev"  # the tag of images that a developer builds


def test_the_overlays_name_the_images_of_the_version() -> None:
    tags = [
        (path.parent.name, tag)
        for path in sorted((ROOT / "k8s" / "overlays").glob("*/kustomization.yaml"))
        for tag in re.findall(r"newTag: (\S+)", path.read_text())
    ]
    assert tags
    assert {tag for _, tag in tags} <= {VERSION, LOCAL}, tags


def test_the_guide_builds_the_images_of_the_version() -> None:
    tags = re.findall(r"sluice-[\w$]+:([\w.]+)", (ROOT / "k8s" / "README.md").read_text())
    assert {VERSION} <= set(tags) <= {VERSION, LOCAL}


def test_the_changelog_begins_with_the_version() -> None:
    assert re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == VERSION
