"""`sluice keys`, through its command line."""

import resource
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluice.access import keys
from sluice.access.keys import Caller, Keys, Rate
from sluice.access.keys_file import KeysFile
from sluice.cli.app import app

Command = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def run(path: Path) -> Command:
    environment = {"SLUICE_API_KEYS_FILE": str(path), "COLUMNS": "200"}
    return lambda *words: CliRunner().invoke(app, ["keys", *words], env=environment)


def _created_key(result: Result) -> str:
    """The printed key. Nothing else is on stdout."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return result.stdout.strip()


def test_create_prints_a_key_and_stores_its_hash(run: Command, path: Path) -> None:
    key = _created_key(
        run("create", "camera-7", "--rate", "0.5", "--burst", "20", "--max-backlog", "500")
    )
    assert Keys(path).caller(key) == Caller("camera-7", 500, Rate(0.5, 20))
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [other.name for other in path.parent.iterdir()] == ["keys.json"]


def test_the_option_file_names_the_keys_file(run: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    key = _created_key(run("create", "a", "--file", str(other)))
    assert Keys(other).caller(key) == Caller("a")
    result = CliRunner().invoke(app, ["keys", "create", "a"], env={"SLUICE_API_KEYS_FILE": None})
    assert result.exit_code == 1
    assert "--file" in result.stderr
    assert "SLUICE_API_KEYS_FILE" in result.stderr


def test_a_key_is_replaced_by_a_second_one(run: Command, path: Path) -> None:
    other = _created_key(run("create", "door"))
    older = _created_key(run("create", "camera-7", "--rate", "1", "--burst", "2"))
    newer = _created_key(run("create", "camera-7"))
    assert (
        Keys(path).caller(newer) == Keys(path).caller(older) == Caller("camera-7", None, Rate(1, 2))
    )
    assert "--older" in _refused(run("revoke", "camera-7"), path)
    assert run("revoke", "camera-7", "--older").stdout == "keys revoked: 1\n"
    assert [entry.sha256 for entry in keys.read(path)] == [keys.digest(other), keys.digest(newer)]
    assert "only one" in _refused(run("revoke", "camera-7", "--older"), path)


def test_revoke_removes_one_or_all_keys_of_a_name(run: Command, path: Path) -> None:
    for name in ("a", "b", "b", "c"):
        _created_key(run("create", name))
    assert run("revoke", "a").exit_code == 0
    assert run("revoke", "b", "--all").stdout == "keys revoked: 2\n"
    assert "nobody has no key" in _refused(run("revoke", "nobody"), path)
    assert run("revoke", "c").exit_code == 0
    assert keys.read(path) == ()


def test_list_shows_names_and_limits_but_no_key(run: Command, path: Path) -> None:
    created = [
        _created_key(run("create", *words))
        for words in (["camera-7", "--max-backlog", "500"], ["camera-7"], ["door"])
    ]
    result = run("list")
    assert result.exit_code == 0
    assert [word for word in result.stdout.split() if word in ("camera-7", "door")] == [
        "camera-7",
        "camera-7",
        "door",
    ]
    assert result.stdout.count("500") == 2
    for key in created:
        assert key not in result.stdout
        assert keys.digest(key)[:8] not in result.stdout


def test_a_refused_command_changes_nothing(run: Command, path: Path) -> None:
    _created_key(run("create", "camera-7", "--max-backlog", "5"))
    assert "name" in _refused(run("create", "Camera"), path)
    assert "go together" in _refused(run("create", "door", "--rate", "1"), path)
    assert "need the same" in _refused(run("create", "camera-7", "--max-backlog", "6"), path)
    path.write_text("{}")
    assert "keys.json is wrong" in _refused(run("create", "door"), path)
    assert "keys.json is wrong" in _refused(run("list"), path)


def test_a_missing_folder_is_named_in_the_error(run: Command, tmp_path: Path) -> None:
    result = run("create", "a", "--file", str(tmp_path / "none" / "keys.json"))
    assert result.exit_code == 1
    assert f"{tmp_path / 'none'}: No such file or directory" in result.stderr


def test_a_full_disk_changes_nothing(run: Command, path: Path) -> None:
    before = _created_key(run("create", "a"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        result = run("create", "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the keys file: File too large" in _refused(result, path)
    assert [entry.sha256 for entry in keys.read(path)] == [keys.digest(before)]


def test_concurrent_changes_are_all_kept(path: Path) -> None:
    """No change is lost, and a reader never sees half a file."""
    file = KeysFile(path)
    file.create("first", None, None, None)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(file.create, f"camera-{n % 3}", None, None, None) for n in range(40)]
        while not all(future.done() for future in futures):
            assert keys.read(path)
    digests = {keys.digest(future.result()) for future in futures}
    assert digests < {entry.sha256 for entry in keys.read(path)}


def test_a_change_keeps_a_symbolic_link_and_the_mode(run: Command, path: Path) -> None:
    target = path.with_name("target.json")
    _created_key(run("create", "a", "--file", str(target)))
    target.chmod(0o640)
    path.symlink_to(target.name)
    key = _created_key(run("create", "b"))
    assert path.is_symlink()
    assert Keys(target).caller(key) == Caller("b")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def _refused(result: Result, path: Path) -> str:
    """The one error line of a refused command, which left the file as it was."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert [other.name for other in path.parent.iterdir()] == ["keys.json"]
    return result.stderr
