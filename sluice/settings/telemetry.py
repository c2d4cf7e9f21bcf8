"""Logs and traces."""

from typing import Literal

from pydantic import Field

from sluice.settings.groups import Group


class LogSettings(Group):
    """Logs, which every process writes to standard error."""

    format: Literal["console", "json"] = Field(
        "console",
        description=(
            "console: lines for people. json: one JSON object a line. "
            "Docker Compose and Kubernetes set json."
        ),
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description=(
            "Least level of the lines that are written. "
            "Libraries never write below INFO: their lines may hold headers and URLs."
        ),
    )


class TracingSettings(Group):
    """Traces. The standard OTEL_… variables set endpoint, headers, resource and sampler."""

    exporter: Literal["none", "otlp"] = Field(
        "none",
        description=(
            "none: record no spans; a caller's trace context is passed on. "
            "otlp: send spans by OTLP over HTTP, which needs the extra `otlp`."
        ),
    )
    max_spans: int = Field(
        32, ge=8, description="Maximum spans of one attempt; further stages are only counted."
    )
    end_s: float = Field(
        2.0, ge=0, description="Seconds that the last spans may take to leave a process that ends."
    )
