"""Downloads of model files, from a real server on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluice.errors import RepositoryError
from sluice.repository.download import download, is_url
from tests.support.servers import free_port

BODY = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/m.onnx")
            self.end_headers()
        elif path == "/round":
            self.send_response(302)
            self.send_header("Location", "/round")
            self.end_headers()
        elif path in ("/m.onnx", "/short.onnx"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY if path == "/m.onnx" else BODY[:1000])
        else:
            self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _download(url: str, folder: Path, max_bytes: int = len(BODY), sha256: str = SHA256) -> Path:
    return download(url, folder, sha256=sha256, max_bytes=max_bytes)


@pytest.mark.parametrize("path", ["/m.onnx", "/m.onnx?token=x", "/moved"])
def test_a_file_is_downloaded(url: str, tmp_path: Path, path: str) -> None:
    assert _download(url + path, tmp_path, sha256=SHA256.upper()).read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/m.onnx", {"sha256": "0" * 64}, "not the file that --sha256 names"),
        ("/m.onnx", {"max_bytes": len(BODY) - 1}, "more than 2559999 bytes"),
        ("/none.onnx", {}, "status 404"),
        ("/round", {}, "can't be downloaded: .*redirects"),
        ("/short.onnx", {}, "can't be downloaded"),
    ],
)
def test_what_is_not_the_file_is_refused(
    url: str, tmp_path: Path, path: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(RepositoryError, match=message) as refused:
        _download(f"{url}{path}?token=secret", tmp_path, **options)  # type: ignore[arg-type]
    assert "secret" not in refused.value.message


def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="can't be downloaded"):
        _download(f"http://127.0.0.1:{free_port()}/m.onnx", tmp_path)


def test_urls_are_told_from_paths() -> None:
    assert is_url("HTTPS://example.com/m.onnx")
    assert not is_url("models/http.onnx")
