"""The settings of the api process."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from sluice.settings.groups import Group, networks


class ApiSettings(Group):
    """The api process."""

    host: str = Field(
        "127.0.0.1",
        description=(
            "Address to listen on; 0.0.0.0 to be reachable from outside, "
            "or :: to be so by IPv6 and IPv4. "
            "The api then starts only with SLUICE_API_KEYS_FILE or SLUICE_API_OPEN."
        ),
    )
    port: int = Field(8080, ge=1, le=65535, description="TCP port to listen on.")
    keys_file: Path | None = Field(
        None,
        description=(
            "File of API keys, which `sluice keys` writes. Anybody may call the api where absent."
        ),
    )
    open: bool = Field(
        False,
        description="Start without keys. Something in front of the api must authenticate callers.",
    )
    linger_s: float = Field(
        2.0,
        ge=0,
        description=(
            "Seconds after SIGTERM in which requests are still accepted, and each answer tells "
            "its client to use another connection."
        ),
    )
    drain_s: float = Field(
        3.0, ge=0, description="Seconds after these that open requests may still take."
    )
    keep_alive_s: float = Field(
        75.0,
        gt=0,
        description=(
            "Seconds after which an idle connection is closed. A proxy in front must close its "
            "idle connections earlier; most do so after 60 s."
        ),
    )
    model: str = Field("codes", description="Model for requests that name none.")
    max_connections: int = Field(
        10_000,
        ge=1,
        description=(
            "Maximum number of open connections; requests on others get 503. "
            "At most half of the files that the process may open."
        ),
    )
    max_followers: int = Field(
        5_000,
        ge=0,
        description=(
            "Maximum number of open long polls and streams. Above it, a long poll is answered at "
            "once, and a stream gets 503."
        ),
    )
    models_kept_s: float = Field(
        30 * 24 * 3600.0,
        gt=0,
        description=(
            "Seconds for which Redis keeps the list of models, for an api that starts while "
            "Triton is unavailable."
        ),
    )
    max_wait_s: float = Field(
        55.0,
        gt=0,
        description=(
            "Maximum seconds that a request may wait for a result. "
            "A proxy in front must wait longer for an answer; most wait 60 s."
        ),
    )
    public_url: str | None = Field(
        None,
        description=(
            "Base URL under which clients reach the api, for the URLs in answers and webhooks. "
            "A proxy may take the path of this URL off, or leave it. "
            "The request's own address is used where absent."
        ),
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description=(
            "Networks of proxies in CIDR notation, separated by commas, whose headers "
            "X-Forwarded-Proto, -Host and -Prefix are believed. None where absent."
        ),
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description=(
            "Origins, such as https://app.example.com, whose pages may call the api from a "
            "browser, separated by commas; * for all. None where absent."
        ),
    )

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and "://" in value:
            raise ValueError(
                "the value is an address, as Kubernetes adds it to a pod beside a Service named"
                " sluice-api; set the port's number, or enableServiceLinks: false in the pod"
            )
        return value

    @field_validator("public_url", mode="before")
    @classmethod
    def _as_base(cls, value: Any) -> Any:
        """Without a slash at the end, which would come twice in every URL."""
        if not isinstance(value, str):
            return value
        parts = urlsplit(value.strip())
        wrong = parts.query or parts.fragment or "@" in parts.netloc
        if value.strip() and (parts.scheme not in ("http", "https") or not parts.netloc or wrong):
            raise ValueError("give a URL such as https://example.com/sluice")
        return value.strip().rstrip("/") or None

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        return networks(value)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        origins = [entry.strip().rstrip("/") for entry in value.split(",") if entry.strip()]
        for origin in origins:
            parts = urlsplit(origin)
            is_origin = parts.scheme and parts.netloc and not (parts.path or parts.query)
            if origin != "*" and not is_origin:
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.com")
        return tuple(origins)
