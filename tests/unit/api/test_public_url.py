"""Behind a proxy that ends TLS, every URL in an answer begins as clients see the api."""

from pathlib import Path

import httpx
import pytest

from sluice.access.keys_file import KeysFile
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio

PUBLIC = "https://example.com/sluice"


@pytest.fixture
def public_url() -> str:
    return PUBLIC


@pytest.fixture
def key(tmp_path: Path) -> dict[str, str]:
    """An API key as a header: streams then have tickets."""
    api_key = KeysFile(tmp_path / "keys.json").create("mine", None, None, None)
    return {"Authorization": f"Bearer {api_key}"}


@pytest.fixture
def keys_file(tmp_path: Path, key: dict[str, str]) -> Path:
    return tmp_path / "keys.json"


async def test_no_answer_names_the_address_behind_the_proxy(
    http: httpx.AsyncClient, world: World, key: dict[str, str]
) -> None:
    submitted = await http.post("/v1/predictions", content=JPEG, headers={**RAW, **key})
    assert submitted.headers["location"].startswith(f"{PUBLIC}/v1/predictions/")
    assert submitted.json()["urls"]["stream"].startswith(f"{PUBLIC}/v1/predictions/")
    assert "ticket=" in submitted.json()["urls"]["stream"]
    again = await http.put("/v1/predictions/a", content=JPEG, headers={**RAW, **key})
    batch = await http.post("/v1/batches", files={"image": JPEG}, headers=key)
    file = await http.post("/v1/files", files={"content": JPEG}, headers=key)
    listed = await http.get("/v1/predictions?limit=1", headers=key)
    assert listed.json()["next"].startswith(f"{PUBLIC}/v1/predictions?")
    world.ledger.cancel("a")
    answers = [
        submitted,
        again,
        batch,
        file,
        listed,
        await http.get("/v1/predictions/a", headers=key),
        await http.get("/v1/predictions/a/stream", headers=key),
        await http.get(f"/v1/batches/{batch.json()['id']}", headers=key),
        await http.get(f"/v1/batches/{batch.json()['id']}/predictions", headers=key),
        await http.get("/v1/files", headers=key),
        await http.get("/v1/models", headers=key),
        await http.get("/v1/models/codes", headers=key),
        await http.get("/openapi.json"),
    ]
    for answer in answers:
        assert answer.is_success, answer.text
        whole = f"{answer.headers} {answer.text}"
        assert "http://test" not in whole, answer.request.url
        assert "://test" not in whole, answer.request.url
