"""A file that a client uploads before submitting it. Pure: no store, no network."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class File(BaseModel):
    """The record of an uploaded file. Times are seconds since the epoch, by Redis's clock."""

    model_config = ConfigDict(frozen=True)

    id: str
    key: str
    """Name of the caller's API key."""
    name: str
    content_type: str
    size: int
    """Number of bytes."""
    sha256: str
    """Digest of the bytes, in hex."""
    metadata: dict[str, Any]
    """The caller's own data, returned unchanged."""
    created_at: float
    expires_at: float
