"""The files of a release: the wheel's contents, and the bills of materials."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from sluice import __version__
from tests.support.paths import ROOT

for _name in ("build", "twine", "cyclonedx_py"):
    pytest.importorskip(_name, reason=f"{_name} is not installed; `make test` installs it")
if not shutil.which("git") or not (ROOT / ".git").exists():
    pytest.skip("a release is built from a git checkout", allow_module_level=True)

from tools.release import __main__, build, sbom  # noqa: E402 - after the skips


def test_the_program_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["release", "--help"])
    with pytest.raises(SystemExit, match="0"):
        __main__.main()
    assert "--no-trial" in capsys.readouterr().out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build(tmp_path_factory.mktemp("dist")).wheel


def _copy(wheel: Path, folder: Path, leave_out: str = "", add: str = "") -> Path:
    """A copy of a wheel without one file, or with one more."""
    target = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if name != leave_out:
                copy.writestr(name, source.read(name))
        if add:
            copy.writestr(add, b"")
    return target


def test_the_wheel_holds_the_sources_and_data_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"sluice-{__version__}-py3-none-any.whl"
    assert build.problems(wheel) == []


def test_a_missing_file_and_a_file_too_many_are_found(wheel: Path, tmp_path: Path) -> None:
    script, more = "sluice/ledger/lua/claim.lua", "tests/conftest.py"
    assert build.problems(_copy(wheel, tmp_path, leave_out=script)) == [f"the wheel lacks {script}"]
    assert build.problems(_copy(wheel, tmp_path, add=more)) == [f"the wheel holds {more}"]


def test_a_bill_lists_the_pinned_packages_of_its_image(tmp_path: Path) -> None:
    """The tool validates each bill by CycloneDX's schema before it returns."""
    bill = json.loads(sbom.of_image("api", tmp_path).read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == __version__
    listed = {f"{part['name']}=={part['version']}" for part in bill["components"]}
    pins = {line.split()[0] for line in sbom.requirements("api").splitlines()}
    assert listed == pins
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])


def test_a_bill_leaves_out_packages_of_other_systems() -> None:
    text = (ROOT / "constraints" / "api.txt").read_text()
    assert "colorama==" in text
    assert "colorama==" not in sbom.requirements("api")
    assert "fastapi==" in sbom.requirements("api")
