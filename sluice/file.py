"""A file that a client uploaded before it submits it. Pure: no store, no network."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class File(BaseModel):
    """One file. Times are seconds since the epoch by Redis's clock; `sha256` is in hex; `key` is the API key's name."""

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    name: str
    content_type: str
    size: int
    sha256: str
    metadata: dict[str, Any]
    created_at: float
    expires_at: float
