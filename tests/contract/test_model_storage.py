"""The contract of `Storage`: a folder and a bucket."""

import time
from pathlib import Path

import pytest

from sluice.errors import RepositoryError
from sluice.repository import ensemble
from sluice.repository.config import BuildOptions
from sluice.repository.s3 import Bucket
from sluice.repository.storage import Folder, Storage
from sluice.settings import BlobsSettings
from tests.support import s3
from tests.support.servers import free_port
from tests.unit.repository.test_config import DESCRIPTION


def _bucket(endpoint: str, path: str) -> Bucket:
    settings = BlobsSettings(s3_endpoint=endpoint, s3_allow_http=True)
    return Bucket(f"s3://{path}", settings, lock_timeout_s=0)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Folder(tmp_path / "models", lock_timeout_s=0)
    request.getfixturevalue("credentials")
    server: s3.Server = request.getfixturevalue("server")
    return _bucket(server.url, f"{s3.BUCKET}/{request.node.originalname}")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "some.onnx"
    path.write_bytes(b"graph")
    return path


def test_a_model_is_added_in_two_versions_and_read(storage: Storage, graph: Path) -> None:
    with storage.lock():
        assert storage.models() == []
        assert storage.versions("m") == []
        assert storage.read("m/config.pbtxt") is None
        storage.put("m", 1, {"model.onnx": graph}, "first")
        storage.put("m", 10, {"model.onnx": graph, "source.onnx": graph}, "second é")
    assert storage.models() == ["m"]
    assert storage.versions("m") == [1, 10]
    assert storage.read("m/config.pbtxt") == "second é".encode()
    assert storage.read("m/1/config.pbtxt") == b"first"
    assert storage.read("m/1/source.onnx") is None
    assert storage.read("m/10/source.onnx") == b"graph"


def test_a_file_of_the_repository_becomes_one_of_another_version(
    storage: Storage, graph: Path
) -> None:
    with storage.lock():
        storage.put("m", 1, {"model.onnx": graph}, "first")
        assert storage.files("m", 1) == ["config.pbtxt", "model.onnx"]
        storage.put("n", 3, {"kept.onnx": "m/1/model.onnx", "source.onnx": graph}, "other")
        storage.delete_model("m")
    assert storage.files("n", 3) == ["config.pbtxt", "kept.onnx", "source.onnx"]
    assert storage.read("n/3/kept.onnx") == b"graph"
    assert storage.files("m", 1) == storage.files("n", 4) == []


def test_a_file_that_is_missing_can_not_be_taken_over(storage: Storage, graph: Path) -> None:
    refused = pytest.raises(RepositoryError, match="can't be used")
    with storage.lock(), refused:
        storage.put("m", 1, {"model.onnx": "gone/1/model.onnx"}, "first")
    assert storage.read("m/config.pbtxt") is None


def test_the_steps_of_an_ensemble_come_back_from_what_its_version_keeps(
    storage: Storage, graph: Path, tmp_path: Path
) -> None:
    files = {"model.onnx": graph, "weights.data": graph}
    programs = ensemble.programs(tmp_path)
    made = ensemble.steps("m", 1, DESCRIPTION, BuildOptions(), files, programs, processes=2)
    with storage.lock():
        for step in made:
            storage.put(step.name, 1, step.files, step.text)
        storage.put("m", 1, ensemble.archived(made, 1), "the ensemble")
        for step in made:
            storage.delete_model(step.name)
        assert storage.models() == ["m"]
        restored = ensemble.restored(storage, "m", 1)
        for step in restored:
            storage.put(step.name, 1, step.files, step.text)
    assert [(step.name, step.text) for step in restored] == [(s.name, s.text) for s in made]
    for step in made:
        assert storage.files(step.name, 1) == sorted([*step.files, "config.pbtxt"])
    assert storage.read("m.1.network/1/weights.data") == b"graph"
    assert ensemble.restored(storage, "m", 2) == []


def test_a_version_and_a_model_are_deleted(storage: Storage, graph: Path) -> None:
    with storage.lock():
        storage.put("m", 1, {"model.onnx": graph}, "first")
        storage.put("m", 2, {"model.onnx": graph}, "second")
        storage.put("m-2", 1, {"model.onnx": graph}, "other")
        storage.delete_version("m", 1)
        assert storage.versions("m") == [2]
        storage.delete_version("m", 1)
        storage.delete_model("m")
    assert storage.models() == ["m-2"]
    assert storage.read("m/config.pbtxt") is None
    with storage.lock():
        storage.delete_model("m")


def test_a_file_is_replaced_and_hidden_files_are_no_models(storage: Storage) -> None:
    with storage.lock():
        storage.write(".sluice.json", b"1")
        storage.write(".sluice.json", b"2")
        assert storage.read(".sluice.json") == b"2"
        assert storage.models() == []


def test_one_command_at_a_time_has_the_lock(storage: Storage) -> None:
    refused = pytest.raises(RepositoryError, match="another `sluice models`")
    with storage.lock(), refused, storage.lock():
        pass
    with storage.lock():
        pass


def test_a_folder_has_no_half_of_a_model(tmp_path: Path, graph: Path) -> None:
    """A file that is missing breaks the addition off in the middle."""
    storage = Folder(tmp_path / "models")
    with storage.lock():
        files = {"model.onnx": graph, "source.onnx": tmp_path / "missing"}
        with pytest.raises(RepositoryError, match="missing"):
            storage.put("m", 1, files, "first")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".sluice.lock"]


def test_the_rest_of_killed_commands_is_removed_from_a_folder(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    for rest in (".adding-m", "n/.adding-2", "n/.removing-1", ".removing-o"):
        (tmp_path / rest / "1").mkdir(parents=True)
    assert storage.models() == ["n"]
    with storage.lock():
        assert sorted(path.name for path in tmp_path.iterdir()) == [".sluice.lock", "n"]
        assert not list((tmp_path / "n").iterdir())


def test_a_folder_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = Folder(tmp_path / "file")
    with pytest.raises(RepositoryError, match="file: Not a directory"):
        storage.models()
    with pytest.raises(RepositoryError, match="can't be used"), storage.lock():
        pass


def test_a_bucket_that_is_away_is_told_at_once(credentials: None) -> None:
    storage = _bucket(f"http://127.0.0.1:{free_port()}", "models/prefix")
    with pytest.raises(RepositoryError, match=r"s3://models/prefix can't be used.*S3_ENDPOINT"):
        storage.models()
    with pytest.raises(RepositoryError), storage.lock():
        pass


def test_a_bucket_that_hangs_is_told_within_seconds(server: s3.Server, credentials: None) -> None:
    storage = _bucket(server.url, s3.BUCKET)
    started = time.monotonic()
    with server.stopped(), pytest.raises(RepositoryError):
        storage.models()
    assert time.monotonic() - started < 60  # the bound is 5 s; the machine may be busy


def test_a_missing_bucket_is_told(server: s3.Server, credentials: None) -> None:
    storage = _bucket(server.url, "no-such-bucket")
    for use in (storage.models, lambda: storage.read("m/config.pbtxt")):
        with pytest.raises(RepositoryError, match="there is no such bucket"):
            use()


def test_a_wrong_url_is_told() -> None:
    with pytest.raises(RepositoryError, match="s3://bucket/prefix"):
        _bucket("http://127.0.0.1", "")
