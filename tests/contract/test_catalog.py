"""The contract of `Catalog`: the one that asks Triton over HTTP, and the one in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from api.catalog import Catalog, TritonCatalog
from api.model_list import ListedModel
from sluice import model_config
from sluice.errors import InvalidInput, TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.models import Model
from sluice.prediction import Parameters
from tests.fakes.catalog import MemoryCatalog
from tests.fakes.kept_models import MemoryKeptModels
from tests.fakes.triton_http import CODES, SILENT, FakeTriton

pytestmark = pytest.mark.anyio

BROKEN = {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "no such file"}


@dataclass
class World:
    catalog: Catalog
    set_available: Callable[[bool], None]


def _listed(config: dict[str, Any], runs: int = 0) -> ListedModel:
    try:
        model: Model | UnsupportedModel = model_config.read(config)
    except UnsupportedModel as error:
        model = error
    return ListedModel(config["name"], model, "", "1", runs, 1.5)


def _make(kind: str, *, available: bool = True) -> World:
    """Triton with `codes` loaded, `silent` loaded but unsupported, and `broken`."""
    if kind == "triton":
        triton = FakeTriton(not_ready=[BROKEN], away=not available)

        def set_away(available: bool) -> None:
            triton.away = not available

        return World(TritonCatalog(triton.client(), MemoryKeptModels(), ttl_s=0), set_away)
    broken = ListedModel("broken", None, BROKEN["reason"], None, 0, 1.5)
    memory = MemoryCatalog([_listed(SILENT), _listed(CODES, runs=7), broken], available=available)
    return World(memory, lambda available: setattr(memory, "available", available))


@pytest.fixture(params=["triton", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str) -> World:
    return _make(kind)


@pytest.mark.parametrize("classes", [None, ("qr_code",), (0,)])
async def test_a_loaded_model_runs_with_its_own_classes(
    world: World, classes: tuple[str | int, ...] | None
) -> None:
    await world.catalog.check("codes", Parameters(classes=classes))


@pytest.mark.parametrize("classes", [("cat",), (1,), ("qr_code", "cat")])
async def test_a_class_that_the_model_lacks_is_invalid_input(
    world: World, classes: tuple[str | int, ...]
) -> None:
    with pytest.raises(InvalidInput, match="it has qr_code"):
        await world.catalog.check("codes", Parameters(classes=classes))


@pytest.mark.parametrize("name", ["cats", "broken"])
async def test_a_model_that_is_not_loaded_is_unknown_and_the_error_names_the_loaded_ones(
    world: World, name: str
) -> None:
    with pytest.raises(UnknownModel, match=f"no model '{name}' is loaded; there is codes, silent"):
        await world.catalog.check(name, Parameters())


@pytest.mark.parametrize("version", ["codes", "1", None])
async def test_a_version_goes_by_the_models_name_or_by_its_number(
    world: World, version: str | None
) -> None:
    await world.catalog.check("codes", Parameters(), version)


@pytest.mark.parametrize("version", ["2", "nosuch", ""])
async def test_a_version_that_is_not_loaded_is_unknown(world: World, version: str) -> None:
    with pytest.raises(UnknownModel, match=f"no version '{version}'; it has 'codes'"):
        await world.catalog.check("codes", Parameters(), version)


async def test_a_model_that_sluice_cannot_run_is_unsupported(world: World) -> None:
    with pytest.raises(UnsupportedModel, match="silent"):
        await world.catalog.check("silent", Parameters())


async def test_all_models_are_listed_by_name(world: World) -> None:
    listed, current = await world.catalog.models()
    assert current
    assert [(entry.name, entry.version, entry.reason, entry.runs) for entry in listed] == [
        ("broken", None, "no such file", 0),
        ("codes", "1", "", 7),
        ("silent", "1", "", 0),
    ]
    broken, codes, silent = (entry.model for entry in listed)
    assert broken is None
    assert codes == model_config.read(CODES)
    assert isinstance(silent, UnsupportedModel)


async def test_while_triton_is_unavailable_the_last_list_serves(world: World) -> None:
    assert await world.catalog.outage() is None
    before, _ = await world.catalog.models()
    world.set_available(False)
    outage = await world.catalog.outage()
    assert outage is not None
    assert outage.list_at is not None
    after, current = await world.catalog.models()
    assert not current
    assert [entry.name for entry in after] == [entry.name for entry in before]
    await world.catalog.check("codes", Parameters())
    with pytest.raises(UnknownModel):
        await world.catalog.check("cats", Parameters())


async def test_before_triton_was_ever_available_every_model_passes_and_none_is_listed(
    kind: str,
) -> None:
    world = _make(kind, available=False)
    await world.catalog.check("cats", Parameters())
    outage = await world.catalog.outage()
    assert outage is not None
    assert outage.list_at is None
    with pytest.raises(TritonUnavailable):
        await world.catalog.models()
    world.set_available(True)
    assert await world.catalog.outage() is None
    assert len((await world.catalog.models())[0]) == 3
    with pytest.raises(UnknownModel):
        await world.catalog.check("cats", Parameters())
