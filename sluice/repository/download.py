"""Fetching a model file by URL. The operator chooses the URL, so any address is allowed."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sluice.errors import RepositoryError

_TIMEOUT_S = 30.0  # for the connection, and for each part
_MAX_REDIRECTS = 5
_PART_BYTES = 1 << 20


def is_url(source: str) -> bool:
    """True for an address of the web, False for a path."""
    return source.lower().startswith(("http://", "https://"))


def download(url: str, folder: Path, *, sha256: str, max_bytes: int) -> Path:
    """Download `url` into `folder`, under the last part of its path. The hash must be `sha256`.

    Raises RepositoryError. The message does not repeat the URL's query, which may be a secret.
    """
    shown = urlsplit(url)._replace(query="", fragment="").geturl()
    target = folder / (Path(urlsplit(url).path).name or "model.onnx")
    try:
        digest = _stream(url, target, max_bytes, shown)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RepositoryError(
            f"{shown} can't be downloaded: {error or type(error).__name__}"
        ) from error
    if digest != sha256.lower():
        raise RepositoryError(
            f"{shown} is not the file that --sha256 names: its SHA-256 is {digest}"
        )
    return target


def _stream(url: str, target: Path, max_bytes: int, shown: str) -> str:
    sha256, size = hashlib.sha256(), 0
    with (
        httpx.Client(
            follow_redirects=True, max_redirects=_MAX_REDIRECTS, timeout=_TIMEOUT_S
        ) as client,
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        target.open("wb") as file,
    ):
        if not response.is_success:
            raise RepositoryError(f"{shown} can't be downloaded: status {response.status_code}")
        for part in response.iter_raw(_PART_BYTES):
            size += len(part)
            if size > max_bytes:
                raise RepositoryError(
                    f"{shown} has more than {max_bytes} bytes (SLUICE_MODELS_MAX_DOWNLOAD_BYTES)"
                )
            sha256.update(part)
            file.write(part)
    return sha256.hexdigest()
