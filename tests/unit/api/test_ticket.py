"""The ticket in a stream's URL opens that stream only, without a key.

Replicate's JavaScript client sends no key to the URL of a stream.
"""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sluice.access.keys_file import KeysFile
from tests.unit.api.conftest import World
from tests.unit.api.test_predictions import JPEG, RAW

pytestmark = pytest.mark.anyio


@pytest.fixture
def key(tmp_path: Path) -> dict[str, str]:
    """An API key as a header."""
    api_key = KeysFile(tmp_path / "keys.json").create("mine", None, None, None)
    return {"Authorization": f"Bearer {api_key}"}


@pytest.fixture
def keys_file(tmp_path: Path, key: dict[str, str]) -> Path:
    return tmp_path / "keys.json"


async def _submit(http: httpx.AsyncClient, name: str, key: dict[str, str]) -> str:
    answer = await http.put(f"/v1/predictions/{name}", content=JPEG, headers={**RAW, **key})
    assert answer.status_code == 202
    stream: str = answer.json()["urls"]["stream"]
    return stream


async def test_a_ticket_opens_its_stream_and_no_other(
    key: dict[str, str], http: httpx.AsyncClient, world: World
) -> None:
    mine, other = await _submit(http, "a", key), await _submit(http, "b", key)
    world.ledger.cancel("a")
    world.ledger.cancel("b")
    answer = await http.get(mine)
    assert (answer.status_code, "event: done" in answer.text) == (200, True)
    assert (await http.get(mine, headers={"Authorization": "Bearer wrong"})).status_code == 401, (
        "a wrong key is refused, even with a ticket"
    )
    parts = urlsplit(mine)
    for path in (
        "/v1/predictions/a",
        "/v1/predictions/a/image",
        "/v1/predictions/a/deliveries",
        "/v1/predictions",
    ):
        assert (await http.get(f"{path}?{parts.query}")).status_code == 401
    wrong = (
        f"/v1/predictions/b/stream?{parts.query}",
        f"/v1/predictions/nobodys/stream?{parts.query}",
        f"{parts.path}?ticket=x",
    )
    assert {
        (await http.get(url)).status_code for url in (*wrong, parts.path, f"{parts.path}?ticket=")
    } == {401}
    assert (await http.get(other)).status_code == 200


async def test_a_ticket_stays_the_same(key: dict[str, str], http: httpx.AsyncClient) -> None:
    made = await _submit(http, "a", key)
    assert await _submit(http, "a", key) == made, "the ticket is no part of the submission"
    assert (await http.get("/v1/predictions/a", headers=key)).json()["urls"]["stream"] == made


class TestWithoutKeys:
    @pytest.fixture
    def keys_file(self) -> None:
        return None

    async def test_without_keys_there_is_no_ticket(
        self, http: httpx.AsyncClient, world: World
    ) -> None:
        stream = await _submit(http, "a", {})
        assert "ticket" not in stream
        world.ledger.cancel("a")
        assert (await http.get(f"{stream}&ticket=of-another-day")).status_code == 200
