"""The served OpenAPI document. Schemathesis tests the live stack against it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.requests.schemas import PREDICTION_ID
from sluice import __version__
from sluice.access.keys import Entry, digest, dump
from tests.unit.api.conftest import World

pytestmark = pytest.mark.anyio


def _all(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _all(child)


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()


async def test_the_version_is_that_of_the_package(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    assert schema["info"]["version"] == __version__


async def test_every_reference_has_its_schema(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    names = {node["$ref"] for node in _all(schema["paths"]) if "$ref" in node}
    names |= {node["$ref"] for node in _all(schema["components"]) if "$ref" in node}
    assert "#/components/schemas/PredictionRequest" in names
    assert names <= {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}


async def test_an_id_of_a_prediction_has_its_pattern_everywhere(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    ids = [
        parameter["schema"]
        for path, operations in paths.items()
        if path.startswith("/v1/predictions/{id}")
        for operation in operations.values()
        for parameter in operation["parameters"]
        if parameter["name"] == "id"
    ]
    assert len(ids) > 5
    assert {schema.get("pattern") for schema in ids} == {PREDICTION_ID}


async def test_links_lead_to_operations_that_take_their_parameters(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    operations = {operation["operationId"]: operation for operation in _operations(schema)}
    assert len(operations) == len(list(_operations(schema)))
    links = [
        link
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 10
    for link in links:
        taken = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= taken


async def test_every_error_has_the_one_content_type(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    for operation in _operations(schema):
        for status, answer in operation["responses"].items():
            if status >= "400" and operation["tags"] != ["health"]:
                assert list(answer["content"]) == ["application/problem+json"], (
                    operation["operationId"],
                    status,
                )
            if status in ("429", "503") and operation["tags"] != ["health"]:
                assert "Retry-After" in answer["headers"]


async def test_a_parameter_is_never_null(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    parameters = [
        parameter["schema"]
        for operation in _operations(schema)
        for parameter in operation.get("parameters", [])
    ]
    assert {"type": "null"} not in [node for parameter in parameters for node in _all(parameter)]


async def test_without_keys_no_route_asks_for_a_key(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    assert "securitySchemes" not in schema["components"]
    assert not [
        operation
        for operation in _operations(schema)
        if "security" in operation or "401" in operation["responses"]
    ]


class TestWithKeys:
    @pytest.fixture
    def keys_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "keys"
        path.write_bytes(dump([Entry(name="a", sha256=digest("x"))]))
        return path

    async def test_with_keys_every_route_asks_for_a_key(self, http: httpx.AsyncClient) -> None:
        schema = (await http.get("/openapi.json")).json()
        assert list(schema["components"]["securitySchemes"]) == ["key"]
        for operation in _operations(schema):
            assert (
                ("security" in operation)
                is ("401" in operation["responses"])
                is (operation["tags"] != ["health"])
            ), operation["operationId"]


async def test_a_wrong_method_gets_405_with_all_allowed_methods(http: httpx.AsyncClient) -> None:
    for path, allowed in {
        "/v1/predictions": "GET, HEAD, POST",
        "/v1/files/a": "DELETE, GET, HEAD",
        "/v1/models/a/b": "GET, HEAD",
    }.items():
        answer = await http.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (
            405,
            allowed,
            "method_not_allowed",
        )


@pytest.mark.parametrize("since", ["0.5", "2026-01-31", "yesterday"])
async def test_a_time_is_rfc_3339(http: httpx.AsyncClient, since: str) -> None:
    answer = await http.get("/v1/predictions", params={"since": since})
    assert answer.status_code == 422
    assert "since" in answer.json()["detail"]


async def test_any_valid_time_is_accepted(http: httpx.AsyncClient) -> None:
    for since in (
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59.999999-23:59",
        "2026-01-31t12:00:00z",
    ):
        assert (await http.get("/v1/predictions", params={"since": since})).status_code == 200


async def test_the_examples_can_be_submitted(http: httpx.AsyncClient, world: World) -> None:
    components = (await http.get("/openapi.json")).json()["components"]["schemas"]
    (single,), (batch,) = (
        components[name]["examples"] for name in ("PredictionRequest", "BatchRequest")
    )
    assert (await http.post("/v1/predictions", json=single)).status_code == 202
    answer = await http.post("/v1/batches", json=batch)
    assert (answer.status_code, answer.json()["errors"]) == (202, [])
    assert re.fullmatch(r"[a-z2-7]{26}", answer.json()["id"])
