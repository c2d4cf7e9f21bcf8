"""TritonCatalog: the cached list of models, over HTTP answers from httpx's transport for tests."""

import asyncio
import time

import httpx
import pytest

from api.catalog import TritonCatalog
from sluice.errors import InvalidInput, TritonUnavailable, UnknownModel, UnsupportedModel
from sluice.prediction import Parameters
from sluice.redisio.kept_models import KeptModels
from tests.fakes.kept_models import MemoryKeptModels
from tests.fakes.triton_http import CODES, FakeTriton

pytestmark = pytest.mark.anyio


def _catalog(
    triton: FakeTriton, ttl_s: float = 60, kept: KeptModels | None = None
) -> TritonCatalog:
    return TritonCatalog(triton.client(), kept or MemoryKeptModels(), ttl_s=ttl_s)


async def test_a_check_passes_for_a_loaded_model_only() -> None:
    triton = FakeTriton()
    catalog = _catalog(triton)
    await catalog.check("codes", Parameters(classes=("qr_code",)))
    with pytest.raises(UnknownModel, match="no model 'cats' is loaded; there is codes, silent"):
        await catalog.check("cats", Parameters())
    with pytest.raises(InvalidInput, match="it has qr_code"):
        await catalog.check("codes", Parameters(classes=("cat",)))
    with pytest.raises(UnsupportedModel, match="silent"):
        await catalog.check("silent", Parameters())
    assert triton.asked.count("/v2/repository/index") == 1


async def test_the_last_list_serves_while_triton_is_unavailable() -> None:
    triton = FakeTriton()
    catalog = _catalog(triton, ttl_s=0)
    await catalog.check("codes", Parameters())
    triton.away = True
    await catalog.check("codes", Parameters())
    with pytest.raises(UnknownModel):
        await catalog.check("cats", Parameters())
    assert await catalog.outage()


async def test_checks_do_not_wait_for_a_triton_that_hangs() -> None:
    triton = FakeTriton()
    catalog = _catalog(triton, ttl_s=0)
    await catalog.check("codes", Parameters())
    triton.hangs = True
    async with asyncio.timeout(10):
        for _ in range(5):
            await catalog.check("codes", Parameters())
            await asyncio.sleep(0)
    assert triton.asked.count("/v2/repository/index") == 2, (
        "one check asks Triton, and the others do not ask too"
    )


async def test_checks_pass_until_the_first_list_arrives() -> None:
    triton = FakeTriton(away=True)
    catalog = _catalog(triton, ttl_s=0)
    await catalog.check("cats", Parameters())
    triton.away = False
    assert await catalog.outage() is None
    with pytest.raises(UnknownModel):
        await catalog.check("cats", Parameters())


async def test_a_new_model_is_found_at_once() -> None:
    triton = FakeTriton(models={})
    catalog = _catalog(triton, ttl_s=0)
    with pytest.raises(UnknownModel, match="none at all"):
        await catalog.check("codes", Parameters())
    triton.models["codes"] = CODES
    await catalog.check("codes", Parameters())


async def test_a_class_of_a_new_version_is_found_at_once() -> None:
    triton = FakeTriton()
    catalog = _catalog(triton, ttl_s=0.001)
    await catalog.check("codes", Parameters(classes=("qr_code",)))
    names = {"sluice.names": {"string_value": '["cat"]'}}
    triton.models["codes"] = {**CODES, "parameters": names}
    await asyncio.sleep(0.01)
    await catalog.check("codes", Parameters(classes=("cat",)))


async def test_a_model_that_is_being_removed_takes_no_more_predictions() -> None:
    parameters = {**CODES["parameters"], "sluice.retired": {"string_value": "true"}}
    triton = FakeTriton(models={"codes": {**CODES, "parameters": parameters}})
    with pytest.raises(UnknownModel, match="'codes' is being removed"):
        await _catalog(triton).check("codes", Parameters())


async def test_a_list_that_is_too_old_is_not_trusted() -> None:
    triton = FakeTriton()
    catalog = _catalog(triton, ttl_s=0.01)
    await catalog.check("codes", Parameters())
    triton.models.clear()
    await asyncio.sleep(0.05)
    with pytest.raises(UnknownModel):
        await catalog.check("codes", Parameters())


async def test_a_folder_that_is_being_written_is_no_model() -> None:
    triton = FakeTriton(not_ready=[{"name": ".adding-m"}])
    models, _ = await _catalog(triton).models()
    assert "m" not in {listed.name.removeprefix(".adding-") for listed in models}


async def test_a_model_that_is_not_loaded_has_a_reason() -> None:
    triton = FakeTriton(models={"codes": CODES})
    triton.not_ready = [
        {
            "name": "broken",
            "version": "1",
            "state": "UNAVAILABLE",
            "reason": "no such file\nTraceback",
        },
        {"name": "codes", "version": "2", "state": "LOADING"},
        {"name": "never"},
    ]
    models, current = await _catalog(triton).models()
    assert current
    assert [(model.name, model.version, model.reason, model.runs) for model in models] == [
        ("broken", None, "no such file", 0),
        ("codes", "1", "", 7),
        ("never", None, "not loaded", 0),
    ]
    with pytest.raises(UnknownModel, match=r"no model 'broken' is loaded; there is codes$"):
        await _catalog(triton).check("broken", Parameters())


async def test_the_list_is_outdated_while_triton_is_unavailable() -> None:
    triton = FakeTriton(away=True)
    catalog = _catalog(triton, ttl_s=0)
    with pytest.raises(TritonUnavailable):
        await catalog.models()
    triton.away = False
    before, current = await catalog.models()
    assert current
    triton.away = True
    models, current = await catalog.models()
    assert not current
    assert (
        [model.name for model in models] == [model.name for model in before] == ["codes", "silent"]
    )
    triton.away = False
    again, current = await catalog.models()
    assert current
    assert again[0] == before[0], "also when it was first seen"


async def _kept() -> MemoryKeptModels:
    """The text of an api that has seen the models `codes` and `silent`."""
    kept = MemoryKeptModels()
    await _catalog(FakeTriton(), kept=kept).models()
    async with asyncio.timeout(10):
        while kept.text is None:
            await asyncio.sleep(0.01)
    return kept


@pytest.mark.parametrize("fault", ["away", "hangs"])
async def test_an_api_that_starts_without_triton_has_the_list_that_another_one_kept(
    fault: str,
) -> None:
    triton = FakeTriton()
    setattr(triton, fault, True)
    catalog = _catalog(triton, kept=await _kept())
    async with asyncio.timeout(2):  # requests to a Triton that hangs end much later
        await catalog.check("codes", Parameters(classes=("qr_code",)))
        with pytest.raises(UnknownModel, match="there is codes, silent"):
            await catalog.check("cats", Parameters())
        with pytest.raises(UnsupportedModel, match="silent"):
            await catalog.check("silent", Parameters())
        models, current = await catalog.models()
    assert not current
    assert [(model.name, model.version) for model in models] == [("codes", "1"), ("silent", "1")]


async def test_the_kept_list_has_an_age() -> None:
    before = time.time()
    kept = await _kept()
    outage = await _catalog(FakeTriton(away=True), kept=kept).outage()
    assert outage is not None
    assert outage.list_at is not None
    assert before <= outage.list_at <= outage.since


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no json",
        b"[1]",
        b"{}",
        b'{"format": 0, "at": 1, "models": []}',
        b'{"format": 1, "at": 1, "models": [{"name": "codes"}]}',
        b'{"format": 1, "at": 1, "models": [{"name": "codes", "config": 5, "reason": "",'
        b' "version": "1", "seen_at": 1}]}',
    ],
)
async def test_a_kept_list_that_cannot_be_read_is_as_good_as_none(text: bytes) -> None:
    catalog = _catalog(FakeTriton(away=True), kept=MemoryKeptModels(text))
    await catalog.check("cats", Parameters())
    outage = await catalog.outage()
    assert outage is not None
    assert outage.list_at is None


async def test_without_redis_the_list_of_triton_serves() -> None:
    catalog = _catalog(FakeTriton(), kept=MemoryKeptModels(away=True))
    with pytest.raises(UnknownModel):
        await catalog.check("cats", Parameters())
    assert await catalog.outage() is None


async def test_a_new_list_of_triton_replaces_the_kept_one() -> None:
    kept = await _kept()
    catalog = _catalog(FakeTriton(models={}), kept=kept)
    with pytest.raises(UnknownModel, match="none at all"):
        await catalog.check("codes", Parameters())
    async with asyncio.timeout(10):
        while kept.text is None or b"codes" in kept.text:
            await asyncio.sleep(0.01)


async def test_a_list_that_is_too_long_is_not_kept() -> None:
    names = {"sluice.names": {"string_value": "x" * 5_000_000}}
    kept = MemoryKeptModels()
    await _catalog(FakeTriton(models={"codes": {**CODES, "parameters": names}}), kept=kept).models()
    await asyncio.sleep(0.1)
    assert kept.text is None


async def test_an_answer_of_another_server_is_no_list() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text="hello"))
    client = httpx.AsyncClient(transport=transport, base_url="http://triton")
    with pytest.raises(TritonUnavailable):
        await TritonCatalog(client, MemoryKeptModels(), ttl_s=60).models()


async def test_the_steps_of_an_ensemble_are_no_models() -> None:
    triton = FakeTriton(not_ready=[{"name": "codes.1.prepare"}])
    triton.models["codes.2.network"] = CODES
    models, _ = await _catalog(triton).models()
    assert [listed.name for listed in models] == ["codes", "silent"]
    with pytest.raises(UnknownModel, match="there is codes, silent"):
        await _catalog(triton).check("codes.2.network", Parameters())


async def test_an_api_is_ready_only_with_a_list_that_is_kept() -> None:
    """Triton answers a moment after the first try, as it does when both start together."""
    triton = FakeTriton(away=True)
    kept = MemoryKeptModels()
    catalog = _catalog(triton, kept=kept)
    assert await catalog.outage()
    triton.away = False
    assert await catalog.outage() is None
    assert [model.name for model in (await catalog.models())[0]] == ["codes", "silent"]
    async with asyncio.timeout(10):
        while kept.text is None:
            await asyncio.sleep(0.01)
