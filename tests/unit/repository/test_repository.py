"""Adding, going back and removing, in a folder, with Tritons in memory."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.errors import NotFound, RepositoryError, TritonUnavailable, UnsupportedModel
from sluice.repository import config
from sluice.repository.config import BuildOptions
from sluice.repository.repository import Change, Repository, Version
from sluice.repository.storage import Folder
from tests.fakes.tritons import FakeTritonServer
from tests.unit.repository.test_config import DESCRIPTION

BY_HAND = (
    'backend: "onnxruntime"\nmax_batch_size: 8\n'
    'parameters { key: "sluice.names" value: { string_value: "[\\"a\\"]" } }\n'
)


class World:
    """A folder, two Tritons, and the trials that were made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.storage = Folder(self.folder, lock_timeout_s=0)
        self.tritons = [
            FakeTritonServer(self.storage, f"10.0.0.{number}:8000", f"10.0.0.{number}:8001")
            for number in (1, 2)
        ]
        self.trials: list[tuple[str, str, int]] = []
        self.failing: set[int] = set()
        self.repository = Repository(self.storage, self.tritons, self._try)  # type: ignore[arg-type]
        self._graph = folder / "graph.onnx"

    def add(
        self, content: str, *, name: str = "m", keep: int = 2, number: int | None = None
    ) -> Change:
        """Add a version whose graph is this text."""
        self._graph.write_text(content)

        def render(version: int) -> str:
            return config.render(name, version, DESCRIPTION, BuildOptions(source=content))

        new = Version(name, {"model.onnx": self._graph}, content, render)
        return self.repository.add(new, keep=keep, number=number)

    def served(self, name: str = "m") -> list[str | None]:
        """The graph that each Triton serves."""
        return [
            self._read(f"{name}/{triton.live[name]}/model.onnx") if name in triton.live else None
            for triton in self.tritons
        ]

    def files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        )

    def by_hand(self, name: str, *versions: int, text: str = BY_HAND) -> None:
        """A model that a person put into the folder, and that the Tritons serve."""
        for version in versions:
            (self.folder / name / str(version)).mkdir(parents=True)
            (self.folder / name / str(version) / "model.onnx").write_text("by hand")
        (self.folder / name / "config.pbtxt").write_text(text)
        for triton in self.tritons:
            triton.live[name] = max(versions)

    def _read(self, path: str) -> str | None:
        data = self.storage.read(path)
        return data.decode() if data else None

    def _try(self, grpc_url: str, name: str, version: int) -> None:
        self.trials.append((grpc_url, name, version))
        if version in self.failing:
            raise RepositoryError("the inference failed")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_new_model_is_loaded_and_tried_in_every_triton(world: World) -> None:
    change = world.add("one")
    assert change == Change("m", 1, True, ("10.0.0.1:8000", "10.0.0.2:8000"))
    assert world.served() == ["one", "one"]
    assert world.trials == [("10.0.0.1:8001", "m", 1), ("10.0.0.2:8001", "m", 1)]
    assert world.files() == ["m/1/config.pbtxt", "m/1/model.onnx", "m/config.pbtxt"]


def test_a_new_version_replaces_the_old_one_and_old_ones_are_deleted(world: World) -> None:
    for content in ("one", "two", "three"):
        world.add(content, keep=1)
    assert world.served() == ["three", "three"]
    assert world.storage.versions("m") == [2, 3]
    assert world.repository.entry("m").live == 3


def test_the_same_file_again_changes_nothing(world: World) -> None:
    world.add("one")
    before = world.files()
    assert world.add("one").changed is False
    assert world.repository.current("m", "one") == replace(world.add("one"), changed=False)
    assert world.repository.current("m", "two") is None
    assert world.files() == before
    assert world.add("one", number=5).version == 5


def test_the_same_file_again_is_loaded_where_it_was_not(world: World) -> None:
    world.add("one")
    world.tritons[1].live.clear()
    assert world.add("one").changed is False
    assert world.served() == ["one", "one"]


@pytest.mark.parametrize("refusing", [0, 1])
@pytest.mark.parametrize("how", ["refuses", "away", "fails"])
def test_where_one_triton_fails_all_serve_what_they_served_before(
    world: World, refusing: int, how: str
) -> None:
    world.add("one")
    before, config_before = world.files(), world.storage.read("m/config.pbtxt")
    if how == "refuses":
        world.tritons[refusing].refuses = {2}
    elif how == "away":
        world.tritons[refusing].away = True
    else:
        world.failing = {2}
    with pytest.raises((RepositoryError, TritonUnavailable)):
        world.add("two")
    assert world.served() == ["one", "one"]
    assert (world.files(), world.storage.read("m/config.pbtxt")) == (before, config_before)
    world.tritons[refusing].away = False
    assert world.add("three").version == 3, "the number of a version that failed is not reused"


def test_a_new_model_that_is_refused_leaves_nothing(world: World) -> None:
    world.tritons[1].refuses = {1}
    with pytest.raises(RepositoryError, match=r"10\.0\.0\.2"):
        world.add("one")
    assert world.files() == []
    assert world.storage.models() == []
    assert world.served() == [None, None]


def test_a_model_of_another_repository_is_neither_replaced_nor_unloaded(world: World) -> None:
    world.tritons[1].live["m"] = 7
    with pytest.raises(RepositoryError, match=r"10\.0\.0\.2:8000 has a model 'm'.*another --name"):
        world.add("one")
    assert world.files() == []
    assert [triton.live for triton in world.tritons] == [{}, {"m": 7}]


def test_an_add_that_was_killed_is_cleaned_up_by_the_next(world: World) -> None:
    """Killed after the version's folder was written, and before the configuration was replaced."""
    world.add("one")
    (world.folder / ".sluice.json").write_text('{"m": {"last": 2, "adding": 2}}')
    (world.folder / "m" / "2").mkdir()
    (world.folder / "m" / "2" / "model.onnx").write_text("half")
    change = world.add("two")
    assert change.version == 3
    assert world.storage.versions("m") == [1, 3]


def test_an_add_that_was_killed_when_it_was_live_stays(world: World) -> None:
    world.add("one")
    world.add("two")
    (world.folder / ".sluice.json").write_text('{"m": {"last": 2, "adding": 2}}')
    assert world.add("two").changed is False
    assert world.storage.versions("m") == [1, 2]


class DyingFolder(Folder):
    """A folder whose process is killed at the n-th change, before it or after it."""

    changes_left = 0
    after = False

    def _count(self, change: Callable[[], None]) -> None:
        self.changes_left -= 1
        last = self.changes_left == 0
        if last and not self.after:
            os._exit(9)
        change()
        if last:
            os._exit(9)

    def write(self, path: str, data: bytes) -> None:
        self._count(lambda: super(DyingFolder, self).write(path, data))

    def put(self, name: str, version: int, files: Mapping[str, Path], config: str) -> None:
        self._count(lambda: super(DyingFolder, self).put(name, version, files, config))

    def delete_version(self, name: str, version: int) -> None:
        self._count(lambda: super(DyingFolder, self).delete_version(name, version))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_a_command_may_be_killed_at_any_change(tmp_path: Path, first: bool, after: bool) -> None:
    """The served version is whole, and the next command goes on as if nothing had been."""
    for change in range(1, 20):
        (tmp_path / str(change)).mkdir()
        world = World(tmp_path / str(change))
        if not first:
            world.add("one")
        if not _killed(world, change, after):
            assert change > 3
            return
        entry = next(iter(world.repository.entries()), None)
        live = world._read(f"m/{entry.live}/model.onnx") if entry else None
        assert live in ({None, "two"} if first else {"one", "two"})
        assert world.add("three", keep=0).changed
        assert world.files() == [
            f"m/{world.tritons[0].live['m']}/config.pbtxt",
            f"m/{world.tritons[0].live['m']}/model.onnx",
            "m/config.pbtxt",
        ]
    pytest.fail("the command makes no end of changes")


def _killed(world: World, change: int, after: bool) -> bool:
    """Add `two` in a process that is killed at a change. False where it made fewer changes."""
    child = os.fork()
    if child == 0:
        dying = DyingFolder(world.folder)
        dying.changes_left, dying.after = change, after
        world.repository = Repository(dying, world.tritons, world._try)  # type: ignore[arg-type]
        try:
            world.add("two", keep=0)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_going_back_and_forth(world: World) -> None:
    for content in ("one", "two", "three"):
        world.add(content)
    assert world.repository.rollback("m").version == 2
    assert world.served() == ["two", "two"]
    assert world.repository.rollback("m").version == 1
    with pytest.raises(RepositoryError, match="no version before 1"):
        world.repository.rollback("m")
    assert world.repository.rollback("m", 3).version == 3
    assert world.served() == ["three", "three"]
    world.repository.rollback("m", 1)
    assert world.add("four").version == 4, "numbers go on after the highest"
    with pytest.raises(RepositoryError, match=r"no version 9 to go back to; it has 2, 3, 4"):
        world.repository.rollback("m", 9)


def test_a_rollback_that_fails_changes_nothing(world: World) -> None:
    world.add("one")
    world.add("two")
    world.tritons[1].refuses = {1}
    with pytest.raises(RepositoryError):
        world.repository.rollback("m")
    assert world.served() == ["two", "two"]
    assert world.repository.entry("m").live == 2
    assert world.storage.versions("m") == [1, 2]


def test_a_removed_model_is_retired_then_drained_then_gone(world: World) -> None:
    world.add("one")
    seen: list[object] = []

    def drain() -> None:
        seen.append([triton.retired for triton in world.tritons])
        seen.append(world.served())

    world.repository.remove("m", drain)
    assert seen == [[{"m"}, {"m"}], ["one", "one"]]
    assert world.served() == [None, None]
    assert world.files() == []
    assert world.add("one").version == 2, "the numbers of a removed model are not reused"


def test_a_model_that_does_not_drain_stays(world: World) -> None:
    world.add("one")

    def drain() -> None:
        raise RepositoryError("1 predictions are still queued")

    with pytest.raises(RepositoryError, match="still queued"):
        world.repository.remove("m", drain)
    assert world.served() == ["one", "one"]
    assert [triton.retired for triton in world.tritons] == [set(), set()]


def test_without_triton_files_are_changed_only(world: World) -> None:
    world.repository = Repository(world.storage, [], world._try)
    assert world.add("one").loaded == ()
    world.repository.remove("m", lambda: pytest.fail("there is nothing to drain"))
    assert world.files() == []


POLICY = "version_policy { specific { versions: [3] } }\n"
NUMBER = 'parameters { key: "sluice.version" value: { string_value: "3" } }\n'


@pytest.mark.parametrize("lines", ["", NUMBER, POLICY + NUMBER])
def test_a_model_by_hand_gets_a_new_version_and_can_be_rolled_back(
    world: World, lines: str
) -> None:
    world.by_hand("m", 3, text=BY_HAND + lines)
    assert world.add("two").version == 4
    assert world.served() == ["two", "two"]
    assert world.repository.rollback("m").version == 3
    assert world.served() == ["by hand", "by hand"]


def test_a_folder_that_a_person_began_is_left_alone(world: World) -> None:
    (world.folder / "m" / "1").mkdir(parents=True)
    (world.folder / "m" / "1" / "model.onnx").write_text("mine")
    with pytest.raises(RepositoryError, match=r"without a config\.pbtxt"):
        world.add("one")
    assert world.files() == ["m/1/model.onnx"]


def test_a_model_by_hand_with_a_policy_is_left_alone(world: World) -> None:
    text = BY_HAND + "version_policy { all {} }\n"
    world.by_hand("m", 1, 2, text=text)
    with pytest.raises(RepositoryError, match="version_policy"):
        world.add("two")
    assert world.storage.read("m/config.pbtxt") == text.encode()
    assert world.storage.versions("m") == [1, 2]


def test_a_model_by_hand_is_removed(world: World) -> None:
    world.by_hand("m", 1)
    world.repository.remove("m", lambda: None)
    assert world.files() == []


def test_a_version_must_be_above_all_before(world: World) -> None:
    world.add("one", number=7)
    with pytest.raises(RepositoryError, match="give --version 8"):
        world.add("two", number=7)


@pytest.mark.parametrize(
    "call",
    [
        lambda repository: repository.entry("m"),
        lambda repository: repository.rollback("m"),
        lambda repository: repository.remove("m", lambda: None),
    ],
)
def test_an_unknown_model_is_told(world: World, call: Callable[[Repository], object]) -> None:
    with pytest.raises(NotFound, match="there is no model 'm'"):
        call(world.repository)


def test_a_configuration_that_can_not_be_read_does_not_hide_the_others(world: World) -> None:
    world.add("one")
    (world.folder / "broken").mkdir()
    (world.folder / "broken" / "config.pbtxt").write_text("}")
    broken, good = world.repository.entries()
    assert isinstance(broken.saved, UnsupportedModel)
    assert (good.name, good.live) == ("m", 1)
    with pytest.raises(RepositoryError, match="'broken' can't be changed"):
        world.add("one", name="broken")
    world.repository.remove("broken", lambda: None)
