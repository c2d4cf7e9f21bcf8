"""Serving the metrics of a process that has no HTTP server of its own."""

from collections.abc import Callable

from prometheus_client import start_http_server

from sluice import logs
from sluice.metrics.recorder import Recorder
from sluice.settings import MetricsSettings

log = logs.get(__name__)


def serve(recorder: Recorder, settings: MetricsSettings) -> Callable[[], None]:
    """Serve the metrics on daemon threads. Returns what ends the server.

    A process without a port works on: its predictions matter more than its metrics.
    """
    if settings.port is None:
        return lambda: None
    try:
        server, _ = start_http_server(settings.port, settings.host, recorder.registry)
    except OSError as error:
        log.error(
            "metrics_port_taken",
            "no metrics are served; set SLUICE_METRICS_PORT to a free port",
            host=settings.host,
            port=settings.port,
            error=error,
        )
        return lambda: None

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
