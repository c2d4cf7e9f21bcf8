"""The version stands in `sluice/__init__.py`; other files that repeat it must agree."""

import re

from typer.testing import CliRunner

import sluice
from sluice.cli.app import app
from tests.support.paths import ROOT

VERSION = sluice.__version__
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


def test_the_changelog_begins_with_what_is_not_released_and_holds_each_version_once() -> None:
    """The form of keepachangelog.com. After a release, the version in the code is the next one."""
    first, *released = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first == "[Unreleased]"
    matches = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", line) for line in released]
    assert all(matches), released
    versions = [tuple(map(int, match[1].split("."))) for match in matches if match]
    assert versions == sorted(set(versions), reverse=True)
    assert all(version <= tuple(map(int, VERSION.split("."))) for version in versions)


def test_the_changelog_has_only_the_kinds_of_changes_that_readers_know() -> None:
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)) <= kinds


def test_the_command_prints_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"sluice {VERSION}\n"


def test_the_guide_labels_the_images_with_the_version() -> None:
    assert f"--build-arg VERSION={VERSION}" in (ROOT / "k8s" / "README.md").read_text()
