"""The settings of the metrics that workers, keepers and senders expose."""

from pydantic import Field

from sluice.settings.groups import Group


class MetricsSettings(Group):
    """The metrics of workers, keepers and senders, each on a port of its own.

    The api has its metrics on its own port, at /metrics.
    """

    host: str = Field(
        "127.0.0.1",
        description=(
            "Address to serve metrics on; 0.0.0.0 or :: to be reachable from other machines. "
            "Nobody is asked for a key, so only Prometheus should reach it."
        ),
    )
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description=(
            "TCP port of the metrics; none are served where absent. "
            "Processes on one host need a port each; one whose port is taken logs an error and "
            "works without metrics."
        ),
    )
