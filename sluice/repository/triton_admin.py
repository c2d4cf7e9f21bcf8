"""Loading models into every Triton that a name leads to, over HTTP.

The calls are those of Triton's model repository extension:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sluice.errors import RepositoryError, TritonUnavailable

Resolve = Callable[[str, int], Sequence[str]]

_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 5.0
_REASON_CHARS = 500
_NOT_FOUND = "failed to poll from model repository"


@dataclass(frozen=True)
class VersionState:
    """A version of a model, as one Triton sees it."""

    name: str
    version: int | None
    """None for a model that this Triton never tried to load."""
    ready: bool
    reason: str
    """Triton's reason for a version that is not ready, on one line; else empty."""


class TritonServer:
    """One Triton, by its address. Closed by `close`."""

    def __init__(
        self, http_url: str, address: str, grpc_url: str, *, load_timeout_s: float
    ) -> None:
        """`address` is a number, to connect to in place of the host in `http_url`.

        `grpc_url` is `host:port`, for inferences. `load_timeout_s` bounds one load.
        """
        url = httpx.URL(http_url)
        self.label = f"{_bracketed(address)}:{url.port or (443 if url.scheme == 'https' else 80)}"
        """For people: the address and the port."""
        self.grpc_url = grpc_url
        self._load_timeout_s = load_timeout_s
        self._extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        self._client = httpx.Client(
            base_url=url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii")},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
            trust_env=False,
        )

    def states(self) -> list[VersionState]:
        """All models of Triton's repository, with each version that was ever loaded.

        Raises TritonUnavailable.
        """
        return [
            VersionState(
                name=str(entry["name"]),
                version=int(entry["version"]) if "version" in entry else None,
                ready=entry.get("state") == "READY",
                reason=_on_one_line(str(entry.get("reason", ""))),
            )
            for entry in self._post("index").json()
        ]

    def load(self, name: str) -> None:
        """Load a model by its present configuration; the version before serves until then.

        A model that has not changed stays as it is.
        Raises RepositoryError with Triton's reason where it refuses, and TritonUnavailable.
        """
        self._change(name, "load")

    def unload(self, name: str) -> None:
        """Unload a model; what runs is finished. Raises RepositoryError, TritonUnavailable."""
        self._change(name, "unload")

    def close(self) -> None:
        self._client.close()

    def _change(self, name: str, action: str) -> None:
        response = self._post(f"models/{name}/{action}", timeout_s=self._load_timeout_s)
        if not response.is_success:
            reason = _reason(response)
            if _NOT_FOUND in reason:
                reason += "; does its --model-repository name the repository that is changed?"
            raise RepositoryError(f"Triton at {self.label} does not {action} {name!r}: {reason}")

    def _post(self, path: str, timeout_s: float = _READ_TIMEOUT_S) -> httpx.Response:
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        try:
            response = self._client.post(
                f"/v2/repository/{path}", json={}, timeout=timeout, extensions=self._extensions
            )
        except httpx.HTTPError as error:
            raise TritonUnavailable(
                f"Triton at {self.label} does not answer ({error or type(error).__name__})"
            ) from error
        if response.status_code in {401, 403, 404, 405, 503} or "json" not in _type(response):
            raise TritonUnavailable(
                f"Triton at {self.label} answers {response.status_code} to calls of its model"
                " repository; start it with --model-control-mode=explicit"
            )
        return response


def servers(
    http_url: str,
    grpc_url: str,
    *,
    load_timeout_s: float,
    resolve: Resolve | None = None,
) -> list[TritonServer]:
    """The Tritons at every address of the host of `http_url`. Makes no connection.

    `grpc_url` is `host:port` or `dns:///host:port`. If its host is that of `http_url`, each
    Triton is asked for inferences at its own address.
    Raises TritonUnavailable where the name leads nowhere.
    """
    url = httpx.URL(http_url)
    grpc_host, _, grpc_port = grpc_url.rpartition("/")[2].rpartition(":")
    same = grpc_host.strip("[]") == url.host
    try:
        addresses = (resolve or _resolve)(url.host, url.port or 80)
    except OSError as error:
        raise TritonUnavailable(
            f"the host {url.host!r} of Triton can't be found: {error}"
        ) from None
    return [
        TritonServer(
            http_url,
            address,
            f"{_bracketed(address)}:{grpc_port}" if same else grpc_url,
            load_timeout_s=load_timeout_s,
        )
        for address in addresses
    ]


def _resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of `host`: those of IPv4 where there are any, else those of IPv6.

    A Triton that has both would be told twice, and `localhost` may have one where nobody listens.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    v4 = [address for address in addresses if ipaddress.ip_address(address).version == 4]
    return v4 or addresses


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _type(response: httpx.Response) -> str:
    return str(response.headers.get("Content-Type", "json" if response.is_success else ""))


def _reason(response: httpx.Response) -> str:
    try:
        body: Any = response.json()
        return _on_one_line(str(body["error"]))
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _on_one_line(text: str) -> str:
    """The reason without a backend's traceback, and without OpenVINO's places in its sources."""
    lines = [line.strip() for line in text.partition("\nAt:\n")[0].splitlines()]
    lines = [re.sub(r"Exception from \S+:\d+:$", "", line).strip() for line in lines]
    return " ".join(filter(None, lines))[:_REASON_CHARS]
