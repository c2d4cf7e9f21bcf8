"""Loading models over HTTP, against a server that answers as Triton does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sluice.errors import RepositoryError, TritonUnavailable
from sluice.repository.triton_admin import TritonServer, VersionState, servers
from tests.support.servers import free_port

INDEX = [
    {"name": "codes", "version": "1", "state": "READY"},
    {"name": "m", "version": "2", "state": "UNAVAILABLE", "reason": "bad graph\n\nAt:\n  file"},
    {"name": "never"},
]


class Handler(BaseHTTPRequestHandler):
    """Triton's answers, as they were seen."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.headers["Host"], self.path))  # type: ignore[attr-defined]
        if self.path == "/v2/repository/index":
            self._answer(200, json.dumps(INDEX))
        elif self.path == "/v2/repository/models/broken/load":
            error = (
                "load failed for model 'broken': Exception from src/core.cpp:84:\n"
                "Exception from src/frontend.cpp:54:\nno such operator\n\n\nAt:\n  x"
            )
            self._answer(400, json.dumps({"error": error}))
        elif self.path == "/v2/repository/models/elsewhere/load":
            error = "failed to load 'elsewhere', failed to poll from model repository"
            self._answer(500, json.dumps({"error": error}))
        elif self.path == "/v2/repository/models/odd/load":
            self._answer(404, "not found", "text/plain")
        else:
            self._answer(200, "")

    def _answer(self, status: int, body: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def http() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def triton(http: ThreadingHTTPServer) -> Iterator[TritonServer]:
    url = f"http://triton.test:{http.server_port}"
    (found,) = servers(url, "x:1", load_timeout_s=30, resolve=lambda *_: ["127.0.0.1"])
    yield found
    found.close()


def test_the_state_of_each_version_is_read(triton: TritonServer) -> None:
    assert triton.states() == [
        VersionState("codes", 1, True, ""),
        VersionState("m", 2, False, "bad graph"),
        VersionState("never", None, False, ""),
    ]


def test_a_model_is_loaded_and_unloaded_at_the_address_with_the_name_as_host(
    triton: TritonServer, http: ThreadingHTTPServer
) -> None:
    http.asked.clear()  # type: ignore[attr-defined]
    triton.load("m")
    triton.unload("m")
    host = f"triton.test:{http.server_port}"
    assert http.asked == [  # type: ignore[attr-defined]
        (host, "/v2/repository/models/m/load"),
        (host, "/v2/repository/models/m/unload"),
    ]
    assert triton.label == f"127.0.0.1:{http.server_port}"


def test_tritons_reason_is_told_without_its_traceback(triton: TritonServer) -> None:
    with pytest.raises(
        RepositoryError, match=r"127.*does not load 'broken': load.*'broken': no such operator$"
    ):
        triton.load("broken")


def test_a_triton_of_another_repository_is_told(triton: TritonServer) -> None:
    with pytest.raises(RepositoryError, match="does its --model-repository name the repository"):
        triton.load("elsewhere")


def test_a_server_that_is_no_triton_is_told(triton: TritonServer) -> None:
    with pytest.raises(TritonUnavailable, match="--model-control-mode=explicit"):
        triton.load("odd")


def test_a_triton_that_is_away_is_told() -> None:
    (found,) = servers(f"http://127.0.0.1:{free_port()}", "x:1", load_timeout_s=30)
    with pytest.raises(TritonUnavailable, match="does not answer"):
        found.states()
    found.close()


@pytest.mark.parametrize(
    ("http_url", "grpc_url", "labels", "grpc_urls"),
    [
        (
            "http://triton:8000",
            "dns:///triton:8001",
            ["10.0.0.1:8000", "10.0.0.2:8000"],
            ["10.0.0.1:8001", "10.0.0.2:8001"],
        ),
        (
            "http://triton",
            "elsewhere:8001",
            ["10.0.0.1:80", "10.0.0.2:80"],
            ["elsewhere:8001", "elsewhere:8001"],
        ),
    ],
)
def test_every_address_of_the_name_is_one_triton(
    http_url: str, grpc_url: str, labels: list[str], grpc_urls: list[str]
) -> None:
    addresses = ["10.0.0.1", "10.0.0.2"]
    found = servers(http_url, grpc_url, load_timeout_s=30, resolve=lambda *_: addresses)
    assert [server.label for server in found] == labels
    assert [server.grpc_url for server in found] == grpc_urls
    for server in found:
        server.close()


def test_ipv6_addresses_are_bracketed() -> None:
    (found,) = servers(
        "http://triton:8000", "triton:8001", load_timeout_s=30, resolve=lambda *_: ["fd00::1"]
    )
    assert (found.label, found.grpc_url) == ("[fd00::1]:8000", "[fd00::1]:8001")
    found.close()


def test_localhost_is_one_triton() -> None:
    found = servers("http://localhost:8000", "localhost:8001", load_timeout_s=30)
    assert [server.label for server in found] == ["127.0.0.1:8000"]
    found[0].close()


def test_a_name_that_leads_nowhere_is_told() -> None:
    with pytest.raises(
        TritonUnavailable, match=r"'no-such-host\.invalid' of Triton can't be found"
    ):
        servers("http://no-such-host.invalid:8000", "x:1", load_timeout_s=30)
