"""`sluice models` against a live stack: no prediction fails while models come, change and go."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from sluice.client import ServiceError
from sluice.errors import RepositoryError
from sluice.repository import triton_trial
from sluice.repository.build import Options, build, source_of
from sluice.repository.repository import Repository, Version
from sluice.repository.storage import Folder
from sluice.repository.triton_admin import servers
from sluice.vision.triton.client import Triton
from tests.integration.conftest import QUICK
from tests.integration.test_grpc_balance import HOSTS, NAME, Names, Servers
from tests.support import tiny
from tests.support.client import Client
from tests.support.live import Live, live_stack
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration

Answer = tuple[str, int]
"""The class of the only detection, and its left side in pixels."""


def _detector(path: Path, names: tuple[str, ...], winner: int, *, side: int, left: int) -> Path:
    """A detector of `side` pixels that finds one box of the class `winner`, and always there.

    `left` is the box's left side in network pixels. The exporter's form: one image, floats.
    """
    anchors = 21 * (side // 32) ** 2
    rows = np.zeros((4 + len(names), anchors), np.float32)
    rows[:4, 0] = (left + 4, 8, 8, 8)
    rows[4 + winner, 0] = 0.9
    made = tiny.detector(rows, np.zeros_like(rows), size=(side, side))
    onnx.helper.set_model_props(
        made, {"task": "detect", "names": str(dict(enumerate(names))), "stride": "32"}
    )
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of different classes, sizes and numbers of rows; each answer tells which one it is."""
    folder = tmp_path_factory.mktemp("files")
    broken = onnx.load(_detector(folder / "broken.onnx", ("a",), 0, side=32, left=0))
    broken.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(broken, folder / "broken.onnx")
    return {
        "old": _detector(folder / "old.onnx", ("ant", "bee"), 1, side=32, left=0),
        "new": _detector(folder / "new.onnx", ("x", "y", "cat"), 2, side=64, left=16),
        "broken": folder / "broken.onnx",
    }


ANSWERS = {"old": ("bee", 0), "new": ("cat", 16)}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A stack with an empty model repository."""
    models = tmp_path_factory.mktemp("models")
    env = QUICK | {"SLUICE_TRITON_MODELS_TTL_S": "1"}
    state = tmp_path_factory.mktemp("state")
    with live_stack(state, "--models", str(models), workers=1, env=env) as live:
        yield live


@pytest.fixture(scope="module")
def image() -> bytes:
    """A grey image of 64 x 64: one network pixel of the larger model is one of the image."""
    import cv2

    done, data = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))
    assert done
    return data.tobytes()


def _models(live: Live, *words: object) -> "subprocess.CompletedProcess[str]":
    """The command as a person types it; it finds the stack by the state directory."""
    command = [sys.executable, "-m", "sluice", "models", *map(str, words)]
    command += ["--state", str(live.state)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def _done(live: Live, *words: object) -> dict[str, Any]:
    """A command that succeeds; its JSON."""
    done = _models(live, *words, "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


_PAUSE_S = 0.05  # between a client's images: the load leaves the command some of the processor


class Load:
    """Clients that submit one image after the other, and keep every answer."""

    def __init__(self, live: Live, image: bytes, model: str) -> None:
        self.answers: list[Answer] = []
        self.failures: list[Any] = []
        self.refused: list[ServiceError] = []
        self._live, self._image, self._model = live, image, model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def seen_from_now(self, answer: Answer) -> None:
        """Wait for some answers from now on, of which the last are `answer`."""
        start = len(self.answers)
        until(lambda: len(self.answers) >= start + 10 and self.answers[-3:] == [answer] * 3)

    def _run(self) -> None:
        with Client(self._live.api, timeout_s=60) as client:
            while not self._stop.wait(_PAUSE_S):
                try:
                    submitted = client.submit(self._image, model=self._model)
                    prediction = client.wait(submitted["id"], timeout_s=120)
                except ServiceError as error:
                    self.refused.append(error)
                    if error.code == "unknown_model":
                        return
                    continue
                if prediction["status"] != "succeeded":
                    self.failures.append(prediction)
                    continue
                (found,) = prediction["output"]["predictions"]
                left = found["x"] - found["width"] / 2
                self.answers.append((found["class"], round(left)))

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=180)
            assert not thread.is_alive()


def test_a_model_is_added_updated_rolled_back_and_removed_under_load(
    live: Live, files: dict[str, Path], image: bytes
) -> None:
    """No accepted prediction fails, and each answer is wholly the old one or wholly the new one."""
    assert _done(live, "add", files["old"], "--name", "m")["version"] == 1
    with Load(live, image, "m").running() as load:
        load.seen_from_now(ANSWERS["old"])
        assert _done(live, "add", files["new"], "--name", "m")["version"] == 2
        load.seen_from_now(ANSWERS["new"])
        assert _done(live, "rollback", "m")["version"] == 1
        load.seen_from_now(ANSWERS["old"])
        refused = _models(live, "add", files["broken"], "--name", "m")
        assert refused.returncode == 1
        assert "NoSuchOperator" in refused.stderr
        load.seen_from_now(ANSWERS["old"])
        assert _done(live, "add", files["new"], "--name", "m", "--no-fold")["version"] == 3
        load.seen_from_now(ANSWERS["new"])
        assert load.refused == []
        removed = _models(live, "remove", "m")
        assert removed.returncode == 0, removed.stderr
        load.join()
    assert load.failures == []
    assert set(load.answers) == set(ANSWERS.values())
    assert {error.code for error in load.refused} == {"unknown_model"}
    assert json.loads(_models(live, "list", "--json").stdout) == []
    assert "m" not in _listed(live)


def _listed(live: Live) -> dict[str, Any]:
    models = httpx.get(f"{live.api}/v1/models").json()["results"]
    return {model["name"]: model for model in models}


def test_a_model_that_triton_refuses_leaves_nothing(
    live: Live, files: dict[str, Path], tmp_path: Path
) -> None:
    """The repository is asked directly: the command's proof would refuse such a graph itself."""
    addresses = json.loads((live.state / "stack.json").read_text())
    tritons = servers(live.triton_http, live.triton_grpc, load_timeout_s=60)
    storage = Folder(Path(addresses["models"]))
    repository = Repository(storage, tritons, triton_trial.run)
    built = build(files["old"], Options(), tmp_path)
    new = Version(
        "refused",
        {"model.onnx": files["broken"]},
        "source",
        lambda version: built.render("refused", version),
    )
    with pytest.raises(RepositoryError, match=r"does not load 'refused': .*NoSuchOperator"):
        repository.add(new, keep=2)
    assert "refused" not in storage.models()
    assert "refused" not in _listed(live)
    for triton in tritons:
        triton.close()


def test_a_model_is_known_at_once_and_added_once(
    live: Live, files: dict[str, Path], image: bytes
) -> None:
    _done(live, "add", files["old"], "--name", "quick")
    with Client(live.api) as client:
        prediction = client.wait(client.submit(image, model="quick")["id"], timeout_s=60)
    assert prediction["status"] == "succeeded"
    again = _done(live, "add", files["old"], "--name", "quick")
    assert (again["changed"], again["version"]) == (False, 1)


def test_what_waits_in_the_queue_runs_before_its_model_is_removed(
    live: Live, files: dict[str, Path], image: bytes
) -> None:
    """The worker stands still while the model is removed, so its predictions wait."""
    _done(live, "add", files["old"], "--name", "leaving")
    accepted: list[str] = []

    def is_refused() -> bool:
        try:
            accepted.append(client.submit(image, model="leaving")["id"])
        except ServiceError as error:
            return error.code == "unknown_model" and "being removed" in error.message
        return False

    command = [sys.executable, "-m", "sluice", "models", "remove", "leaving"]
    command += ["--state", str(live.state)]
    with Client(live.api) as client:
        with stopped(*live.worker_pids()):
            removing = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            until(is_refused, every_s=0.2)
            assert removing.poll() is None
        assert removing.wait(timeout=120) == 0
        assert len(accepted) > 0
        assert {client.wait(name, timeout_s=60)["status"] for name in accepted} == {"succeeded"}


@pytest.fixture
def two_tritons(tmp_path: Path) -> Iterator[tuple[Servers, Folder]]:
    """Two Tritons that read one model repository, which is empty."""
    (tmp_path / "models").mkdir()
    (tmp_path / "tritons").mkdir()
    running = Servers(tmp_path / "tritons")
    try:
        for host in HOSTS[:2]:
            running.start(host, tmp_path / "models")
        yield running, Folder(tmp_path / "models")
    finally:
        running.close()


def test_every_triton_behind_a_name_loads_a_model_or_none(
    two_tritons: tuple[Servers, Folder], files: dict[str, Path], tmp_path: Path
) -> None:
    running, storage = two_tritons
    names = Names()
    names.addresses[NAME] = list(HOSTS[:2])
    url, grpc = f"http://{NAME}:{running.ports.http}", f"dns:///{NAME}:{running.ports.grpc}"
    tritons = servers(url, grpc, load_timeout_s=60, resolve=lambda *_: HOSTS[:2])
    repository = Repository(storage, tritons, triton_trial.run)
    triton = Triton(f"dns://127.0.0.1:{names.port}/{NAME}:{running.ports.grpc}", timeout_s=10)
    try:
        change = repository.add(_version(files["old"], tmp_path / "old"), keep=1)
        assert change.loaded == tuple(f"{host}:{running.ports.http}" for host in HOSTS[:2])
        assert triton.model("m").names == ("ant", "bee")
        repository.add(_version(files["new"], tmp_path / "new"), keep=1)
        assert [states["m"][0] for states in repository.states().values()] == [[2], [2]]
        running.kill(HOSTS[1])  # one of both goes away in the middle of everything
        with pytest.raises(Exception, match="does not answer"):
            repository.rollback("m")
        assert repository.entry("m").live == 2
        assert tritons[0].states()[-1].version == 2
    finally:
        triton.close()
        for server in tritons:
            server.close()
        names.close()


def _version(file: Path, folder: Path) -> Version:
    folder.mkdir()
    built = build(file, Options(), folder)
    return Version(
        "m", built.files, source_of(file, Options()), lambda version: built.render("m", version)
    )
