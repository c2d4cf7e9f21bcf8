"""`sluice models`, through its command line, without a Triton."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluice.cli.app import app
from tests.support import tiny

Command = Callable[..., Result]

BOXES = [[[16.0], [16.0], [8.0], [8.0], [0.1], [0.2]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Command:
    """Runs a command; no stack runs, and no setting of Triton is in the environment."""
    env: dict[str, str | None] = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "SLUICE_MODELS_REPOSITORY": str(folder),
        "SLUICE_TRITON_HTTP_URL": None,
        "SLUICE_TRITON_GRPC_URL": None,
        "COLUMNS": "200",
    }
    return lambda *words: CliRunner().invoke(app, ["models", *map(str, words)], env=env)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A detector of two classes, as an exporter makes it: one image, floats, channels first."""
    return _save(tmp_path / "My Model.onnx", "{0: 'cat', 1: 'dog'}")


def _save(path: Path, names: str) -> Path:
    made = tiny.detector(
        [[16.0] * 21, [16.0] * 21, [8.0] * 21, [8.0] * 21, [0.1] * 21, [0.2] * 21],
        [[0.0] * 21] * 6,
    )
    onnx.helper.set_model_props(made, {"task": "detect", "names": names, "stride": "32"})
    onnx.save(made, path)
    return path


def _tree(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def test_a_file_becomes_a_model_under_a_name_made_of_its_own(
    run: Command, folder: Path, file: Path
) -> None:
    result = run("add", file)
    assert result.exit_code == 0, result.output
    assert "My-Model is version 1: detect, 2 classes, 32 x 32, anchor-free, folded" in result.stdout
    assert "loaded when Triton starts" in result.stdout
    assert _tree(folder) == [
        "My-Model/1/config.pbtxt",
        "My-Model/1/model.onnx",
        "My-Model/1/source.onnx",
        "My-Model/config.pbtxt",
    ]
    assert (folder / "My-Model/1/source.onnx").read_bytes() == file.read_bytes()
    text = (folder / "My-Model/config.pbtxt").read_text()
    assert "TYPE_UINT8" in text
    assert "cat" in text


def test_the_same_file_with_the_same_options_changes_nothing(
    run: Command, folder: Path, file: Path
) -> None:
    run("add", file)
    again = run("add", file)
    assert again.exit_code == 0
    assert "My-Model is this file already, version 1: no change" in again.stdout
    assert run("add", file, "--max-batch", 2).stdout.startswith("My-Model is version 2")
    assert json.loads(run("show", "My-Model", "--json").stdout)["versions"] == [1, 2]


def test_without_folding_the_file_is_served_as_it_came(
    run: Command, folder: Path, file: Path
) -> None:
    result = run("add", file, "--no-fold", "--name", "plain", "--engine", "onnxruntime", "--json")
    facts = json.loads(result.stdout)
    assert (facts["name"], facts["folded"], facts["changed"]) == ("plain", False, True)
    text = (folder / "plain/config.pbtxt").read_text()
    assert "TYPE_FP32" in text
    assert "openvino" not in text


def test_check_changes_nothing(run: Command, folder: Path, file: Path) -> None:
    result = run("check", file)
    assert result.exit_code == 0, result.output
    assert "My-Model would be version 1: detect, 2 classes" in result.stdout
    assert "version_policy" in result.stdout
    assert not folder.exists()


def test_list_and_show_tell_what_is_there(run: Command, file: Path) -> None:
    run("add", file, "--names", "a,b")
    (model,) = json.loads(run("list", "--json").stdout)
    assert (model["name"], model["version"], model["classes"]) == ("My-Model", 1, ["a", "b"])
    assert (model["task"], model["layout"], model["imgsz"]) == ("detect", "anchor-free", [32, 32])
    assert (model["folded"], model["triton"]) == (True, {})
    assert "My-Model" in run("list").stdout
    shown = run("show", "My-Model").stdout
    assert "class 1: b" in shown
    assert "version_policy" in shown


def test_names_may_come_from_a_file(run: Command, file: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("first one\nsecond\n")
    run("add", file, "--names", tmp_path / "names.txt")
    (model,) = json.loads(run("list", "--json").stdout)
    assert model["classes"] == ["first one", "second"]


def test_rollback_and_remove(run: Command, folder: Path, file: Path) -> None:
    run("add", file)
    run("add", file, "--names", "a,b")
    assert run("rollback", "My-Model").stdout.startswith("My-Model is version 1")
    assert "cat" in (folder / "My-Model/config.pbtxt").read_text()
    assert run("rollback", "My-Model").exit_code == 1
    assert run("remove", "My-Model").exit_code == 0
    assert _tree(folder) == []
    assert run("remove", "My-Model").exit_code == 1


def test_a_folder_is_added_whole_and_a_bad_file_does_not_stop_the_others(
    run: Command, folder: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    _save(many / "a.onnx", "{0: 'x', 1: 'y'}")
    (many / "b.onnx").write_bytes(b"\x08not a model")
    _save(many / "c.onnx", "{0: 'x', 1: 'y'}")
    (many / "readme.txt").write_text("")
    result = run("add", many)
    assert result.exit_code == 1
    assert "error: b (" in result.stderr
    assert [path for path in _tree(folder) if path.startswith("b")] == []
    assert {path.split("/")[0] for path in _tree(folder)} == {"a", "c"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["https://example.com/m.onnx"], "a URL needs --sha256"),
        (["FILE", "--sha256", "12"], "64 digits"),
        (["FILE", "--sha256", "0" * 64], "not the one that --sha256 names"),
        (["FILE", "FILE", "--name", "m"], "--name and --sha256 are for one file"),
        (["FILE", "FILE"], "would both be 'My-Model'"),
        (["FILE", "--name", "a/b"], "can't be a model's name"),
        (["FILE", "--task", "guess"], "--task must be one of detect"),
        (["FILE", "--imgsz", "0"], "--imgsz must be"),
        (["FILE", "--kpt-shape", "17"], "--kpt-shape must be such as 17,3"),
        (["FILE", "--letterbox", "left"], "--letterbox must be one of centre, corner, stretch"),
        (["FILE", "--channel-order", "gbr"], "--channel-order must be one of rgb, bgr"),
        (["FILE", "--pixel-max", "2"], "--pixel-max is 1 or 255"),
        (["FILE", "--anchors", "[[1, 2]]"], "--anchors must be a JSON list"),
        (["FILE", "--names", "[1"], "--names must be"),
        (["FILE", "--names", ",".join(["person"] * 80)], "80 class names don't fit"),
        (["FILE", "--precision", "int8"], "needs --calibrate"),
        (["FILE", "--precision", "bf16", "--engine", "onnxruntime"], "needs --engine openvino"),
        (["FILE", "--names", "only-one"], "name"),
        (["missing.onnx"], "missing.onnx"),
        (["EMPTY"], "no .onnx file"),
    ],
)
def test_what_can_not_be_is_refused_with_the_reason(
    run: Command, folder: Path, file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"FILE": str(file), "EMPTY": str(tmp_path / "empty")}
    result = run("add", *(places.get(word, word) for word in words))
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert not folder.exists() or _tree(folder) == []


def test_the_hash_of_a_local_file_is_checked(run: Command, file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert run("add", file, "--sha256", digest).exit_code == 0


def test_a_triton_that_does_not_answer_is_noted(run: Command, file: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["models", "add", str(file)],
        env={
            "SLUICE_MODELS_REPOSITORY": str(file.parent / "models"),
            "SLUICE_TRITON_HTTP_URL": "http://127.0.0.1:1",
        },
    )
    assert result.exit_code == 0, result.output
    assert "No Triton answers" in result.stdout


def test_the_help_imports_no_slow_package() -> None:
    code = (
        "import sys\nfrom sluice.cli import models\n"
        "print([n for n in ('onnx', 'onnxruntime', 'tritonclient', 'httpx', 'redis', 'numpy')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
