"""Models as clients see them."""

import httpx
import pytest

from api.model_list import ListedModel
from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task, Tensor
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio

CODES = Model(
    name="codes",
    task=Task.DETECT,
    layout=Layout.ANCHOR_FREE,
    names=("qr_code", "barcode"),
    imgsz=(480, 640),
    input=Tensor("images", "UINT8", (480, 640, 3)),
    outputs=(),
    batched=True,
)
REASON = "model 'silent' has no 'sluice.names'"


@pytest.fixture(autouse=True)
def listed(world: World) -> None:
    world.catalog.listed = [
        ListedModel("broken", None, "no such file", None, 0, 1.5),
        ListedModel("codes", CODES, "", "3", 17, 1.5),
        ListedModel("silent", UnsupportedModel(REASON), "", "1", 0, 1.5),
    ]


async def test_the_list_has_every_model(http: httpx.AsyncClient) -> None:
    page = (await http.get("/v1/models")).json()
    assert page["previous"] is page["next"] is None
    told = [
        (model["name"], model["default"], model["ready"], model["reason"], model["version"])
        for model in page["results"]
    ]
    assert told == [
        ("broken", False, False, "no such file", None),
        ("codes", True, True, None, "3"),
        ("silent", False, False, REASON, "1"),
    ]


async def test_one_model_by_name(http: httpx.AsyncClient) -> None:
    codes = (await http.get("/v1/models/codes")).json()
    assert codes["input"] == {"width": 640, "height": 480}
    assert (codes["task"], codes["layout"], codes["classes"]) == (
        "detect",
        "anchor-free",
        ["qr_code", "barcode"],
    )
    assert codes["run_count"] == 17
    assert (codes["owner"], codes["url"]) == ("sluice", "http://test/v1/models/codes")
    assert (await http.get("/v1/models/anybody/codes")).json() == codes
    broken = (await http.get("/v1/models/broken")).json()
    assert broken["task"] is broken["input"] is broken["latest_version"] is None


async def test_a_version_of_a_model_can_be_submitted_to(http: httpx.AsyncClient) -> None:
    page = (await http.get("/v1/models/sluice/codes/versions")).json()
    (version,) = page["results"]
    assert version["id"] == "codes"
    schemas = version["openapi_schema"]["components"]["schemas"]
    assert "confidence" in schemas["Input"]["properties"]
    assert schemas["Output"]["type"] == "object"
    assert (await http.get("/v1/models/sluice/codes/versions/codes")).json() == version
    assert (await http.get("/v1/models/sluice/codes/versions/3")).json() == version
    other = await http.get("/v1/models/sluice/codes/versions/4")
    assert (other.status_code, other.json()["detail"]) == (
        404,
        "model 'codes' has no version '4'; it has codes",
    )
    assert (await http.get("/v1/models/sluice/broken/versions")).json()["results"] == []


async def test_an_unknown_model_gets_404_with_the_known_names(http: httpx.AsyncClient) -> None:
    for path in ("/v1/models/cats", "/v1/models/sluice/cats", "/v1/models/sluice/cats/versions"):
        answer = await http.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
        assert answer.json()["detail"] == "no model 'cats' is known; there is broken, codes, silent"


async def test_no_model_is_ready_while_triton_is_unavailable(
    http: httpx.AsyncClient, world: World
) -> None:
    world.catalog.available = False
    codes = (await http.get("/v1/models/codes")).json()
    assert not codes["ready"]
    assert codes["reason"] == "Triton is unavailable; this is the last known state"
    assert codes["classes"] == ["qr_code", "barcode"]
    assert (await http.get("/v1/models/broken")).json()["reason"] == "no such file"
