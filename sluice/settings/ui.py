"""The settings of the page's process."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from sluice.settings.groups import Group


class UiSettings(Group):
    """The page, `python -m ui`."""

    api_url: str = Field(
        "http://127.0.0.1:8080", description="Base URL under which the page calls the api."
    )
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; 0.0.0.0 to be reachable from outside.",
    )
    port: int = Field(7860, ge=1, le=65535, description="TCP port to listen on.")
    root_path: str = Field(
        "",
        pattern=r"^(/[\w.~-]+)*$",
        description="Path under which a proxy serves the page, such as /page. None where empty.",
    )
    max_images: int = Field(50, ge=1, description="Maximum images that a person runs in one go.")
    max_image_bytes: int = Field(
        20_000_000, ge=1, description="Maximum bytes of one uploaded image."
    )
    max_upload_bytes: int = Field(
        500_000_000,
        ge=1,
        description="Maximum bytes of all uploaded images together. Above it, uploads get 503.",
    )
    upload_ttl_s: float = Field(
        1800.0, gt=0, description="Seconds after which an uploaded image is deleted."
    )
    max_runs: int = Field(
        20, ge=1, description="Maximum runs at a time, of all people together. More must wait."
    )
    max_sessions: int = Field(
        1000, ge=1, description="Maximum open pages. Above it, the oldest lose their results."
    )

    @field_validator("api_url", mode="before")
    @classmethod
    def _as_base(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = urlsplit(value.strip())
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
            raise ValueError("give a URL such as http://127.0.0.1:8080")
        return value.strip().rstrip("/")

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and "://" in value:
            raise ValueError(
                "the value is an address, as Kubernetes adds it; set the port's number"
            )
        return value
