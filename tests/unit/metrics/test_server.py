"""Serving metrics on a port of the process's own."""

import logging
import socket

import httpx
import pytest

from sluice.metrics.attempts import AttemptMetrics
from sluice.metrics.recorder import Recorder
from sluice.metrics.server import serve
from sluice.settings import MetricsSettings


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_metrics_are_served_until_the_end() -> None:
    recorder = Recorder()
    AttemptMetrics(recorder)
    port = _free_port()
    stop = serve(recorder, MetricsSettings(port=port))
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        plain = httpx.get(url)
        rich = httpx.get(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    finally:
        stop()
    assert 'sluice_attempts_total{outcome="lost"} 0.0' in plain.text
    assert plain.headers["content-type"].startswith("text/plain")
    assert rich.text.endswith("# EOF\n")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_no_port_means_no_server() -> None:
    serve(Recorder(), MetricsSettings())()


def test_a_taken_port_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.ERROR):
        port = taken.getsockname()[1]
        serve(Recorder(), MetricsSettings(port=port))()
    assert "no metrics are served" in caplog.text
