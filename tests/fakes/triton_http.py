"""Triton's HTTP endpoint, as far as the catalog of models asks it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx

CODES: dict[str, Any] = {
    "name": "codes",
    "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": [64, 64, 3]}],
    "parameters": {"sluice.names": {"string_value": '["qr_code"]'}},
}
SILENT: dict[str, Any] = {"name": "silent"}
"""A model that Sluice can't run: its configuration has no input."""


@dataclass
class FakeTriton:
    """A handler for `httpx.MockTransport`."""

    models: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"codes": CODES, "silent": SILENT}
    )
    """The configurations of the loaded models, by name."""
    not_ready: list[dict[str, str]] = field(default_factory=list)
    """Entries of the repository's index for models that are not loaded."""
    away: bool = False
    """Refuses every connection."""
    hangs: bool = False
    """Accepts requests and answers none."""
    asked: list[str] = field(default_factory=list)
    """The paths of all requests."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.away:
            raise httpx.ConnectError("refused")
        if path == "/v2/repository/index":
            assert json.loads(request.content) == {"ready": False}
            ready = [{"name": name, "version": "1", "state": "READY"} for name in self.models]
            return httpx.Response(200, json=[*ready, *self.not_ready])
        if path == "/v2/models/stats":
            runs = {"name": "codes", "version": "1", "inference_count": 7}
            return httpx.Response(200, json={"model_stats": [runs]})
        if path == "/v2/health/ready":
            return httpx.Response(200)
        return httpx.Response(200, json=self.models[path.split("/")[3]])

    def client(self) -> httpx.AsyncClient:
        """A client of this endpoint."""
        transport = httpx.MockTransport(self)
        return httpx.AsyncClient(transport=transport, base_url="http://triton")
