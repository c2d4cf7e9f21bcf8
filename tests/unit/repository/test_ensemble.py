"""Ensembles in the model repository: their configurations, and their steps' coming and going."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sluice import model_config
from sluice.errors import RepositoryError, UnsupportedModel
from sluice.models import STEPS, Model, Recipe, step_name
from sluice.repository import config, ensemble
from sluice.repository.config import BuildOptions
from sluice.repository.onnx_file import GraphTensor
from sluice.repository.repository import Change, Version
from tests.unit.repository.test_config import DESCRIPTION
from tests.unit.repository.test_repository import World


class Ensembles(World):
    """Models whose versions are ensembles."""

    def add_ensemble(self, content: str, *, keep: int = 2) -> Change:
        self._graph.write_text(content)
        options = BuildOptions(source=content)
        programs = ensemble.programs(self.folder.parent)
        files = {"model.onnx": self._graph, "weights.bin": self._graph}
        new = Version(
            "m",
            {"source.onnx": self._graph},
            content,
            lambda number: ensemble.render("m", number, DESCRIPTION, options),
            lambda number: ensemble.steps(
                "m", number, DESCRIPTION, options, files, programs, processes=3
            ),
        )
        return self.repository.add(new, keep=keep)

    def steps(self) -> list[str]:
        """The steps in the repository; each Triton has the same."""
        found = [name for name in self.storage.models() if name != "m"]
        for triton in self.tritons:
            assert sorted(name for name in triton.live if name != "m") == found
        return found

    def graph(self, version: int) -> str | None:
        return self._read(f"m.{version}.network/{version}/model.onnx")


def _names(version: int) -> list[str]:
    return sorted(step_name("m", version, step) for step in STEPS)


@pytest.fixture
def world(tmp_path: Path) -> Ensembles:
    return Ensembles(tmp_path)


def _parts() -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    options = BuildOptions(source="s")
    whole = config.parsed(ensemble.render("m", 7, DESCRIPTION, options))
    made = ensemble.steps("m", 7, DESCRIPTION, options, {}, dict.fromkeys(STEPS, Path()), 3)
    return whole, {step.step: config.parsed(step.text) for step in made}


def test_the_configuration_describes_the_model_as_its_network_does() -> None:
    whole, parts = _parts()
    model, network = model_config.read(whole), model_config.read(parts["network"])
    assert (model.recipe, model.network) == (Recipe.ENSEMBLE, "m.7.network")
    assert (network.recipe, network.name) == (Recipe.WORKER, "m.7.network")
    for field in ("task", "layout", "names", "imgsz", "version", "letterbox"):
        assert getattr(model, field) == getattr(network, field), field


def test_the_steps_read_the_networks_description() -> None:
    _, parts = _parts()
    network = model_config.read(parts["network"])
    for step in ("prepare", "finish"):
        parameters: dict[str, dict[str, str]] = parts[step]["parameters"]  # type: ignore[assignment]
        described = json.loads(parameters["sluice.model"]["string_value"])
        assert model_config.read(described) == network
        assert parts[step]["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]


def test_the_ensemble_names_each_step_and_its_version() -> None:
    whole, _ = _parts()
    scheduled = whole["ensemble_scheduling"]["step"]  # type: ignore[index]
    assert [(step["model_name"], step["model_version"]) for step in scheduled] == [
        (step_name("m", 7, step), "7") for step in STEPS
    ]


def test_each_tensor_fits_both_of_its_steps() -> None:
    whole, parts = _parts()
    dims: dict[str, list[str]] = {}
    for step in whole["ensemble_scheduling"]["step"]:  # type: ignore[index]
        part = parts[step["model_name"].rpartition(".")[2]]
        batch = ["-1"] if part.get("max_batch_size") else []
        for kind in ("input", "output"):
            entries = {entry["name"]: entry for entry in part[kind]}  # type: ignore[union-attr]
            assert set(entries) == set(step[f"{kind}_map"])
            for own, shared in step[f"{kind}_map"].items():
                shape = [*batch, *entries[own]["dims"]]
                assert len(dims.setdefault(shared, shape)) == len(shape), shared


def test_a_graph_for_one_image_has_its_batch_axis_in_the_dims() -> None:
    fixed = replace(
        DESCRIPTION,
        batch=1,
        input=GraphTensor("images", "FP32", (1, 3, 320, 640)),
        outputs=(GraphTensor("output0", "FP32", (1, 6, 100)),),
    )
    programs = dict.fromkeys(STEPS, Path())
    made = ensemble.steps("m", 1, fixed, BuildOptions(), {}, programs, 1)
    finish = config.parsed(made[2].text)
    assert finish["input"][-1]["dims"] == ["1", "6", "100"]


def test_the_steps_of_the_live_version_are_loaded_before_the_ensemble(world: Ensembles) -> None:
    world.add_ensemble("one")
    loads = [call for call in world.tritons[0].calls if call.startswith("load")]
    assert loads == [*(f"load {step_name('m', 1, step)} 1" for step in STEPS), "load m 1"]
    assert world.steps() == _names(1)
    assert [entry.name for entry in world.repository.entries()] == ["m"]


def test_steps_move_together_and_those_before_go(world: Ensembles) -> None:
    world.add_ensemble("one")
    world.add_ensemble("two")
    assert (world.steps(), world.graph(2)) == (_names(2), "two")
    assert world.repository.rollback("m").version == 1
    assert (world.steps(), world.graph(1)) == (_names(1), "one")
    assert world.storage.read("m.1.network/1/weights.bin") == b"one"
    assert world.repository.rollback("m", 2).version == 2
    assert (world.steps(), world.graph(2)) == (_names(2), "two")


def test_the_recipe_changes_with_the_version(world: Ensembles) -> None:
    world.add("plain")
    world.add_ensemble("whole")
    assert world.steps() == _names(2)
    world.repository.rollback("m")
    assert world.steps() == []
    assert world.served() == ["plain", "plain"]
    world.repository.rollback("m", 2)
    assert world.steps() == _names(2)


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_where_one_triton_fails_all_steps_go_back(world: Ensembles, how: str) -> None:
    world.add_ensemble("one")
    before = world.files()
    if how == "refuses":
        world.tritons[1].refuses = {2}
    else:
        world.failing = {2}
    with pytest.raises(RepositoryError):
        world.add_ensemble("two")
    assert (world.files(), world.steps()) == (before, _names(1))
    world.failing = {1}
    world.add("plain")
    with pytest.raises(RepositoryError):
        world.repository.rollback("m", 1)
    assert world.steps() == []


def test_a_first_version_that_fails_leaves_nothing(world: Ensembles) -> None:
    world.failing = {1}
    with pytest.raises(RepositoryError):
        world.add_ensemble("one")
    assert (world.files(), world.steps(), world.storage.models()) == ([], [], [])


def test_what_a_killed_command_left_is_removed(world: Ensembles) -> None:
    world.add_ensemble("one")
    graph = world.folder.parent / "graph.onnx"
    world.storage.put("m.9.network", 9, {"model.onnx": graph}, 'name: "m.9.network"')
    world.add_ensemble("one")
    assert world.steps() == _names(1)


def test_a_removed_ensemble_leaves_no_step(world: Ensembles) -> None:
    world.add_ensemble("one")
    world.repository.remove("m", lambda: None)
    assert (world.files(), world.steps(), world.storage.models()) == ([], [], [])
    assert world.add_ensemble("one").version == 2


def test_files_are_not_stored_twice_in_a_folder(world: Ensembles) -> None:
    world.add_ensemble("one")
    kept = world.folder / "m" / "1" / "network.model.onnx"
    assert kept.samefile(world.folder / "m.1.network" / "1" / "model.onnx")


def test_an_ensemble_without_its_network_is_explained(world: Ensembles) -> None:
    text = ensemble.render("m", 1, DESCRIPTION, BuildOptions())
    saved = config.parse("m", text.replace("sluice.network", "sluice.other"))
    assert isinstance(saved.model, UnsupportedModel)
    assert isinstance(config.parse("m", text).model, Model)
