"""Running one case against a live api."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.cases.http import Answer, exchange
from tests.support.cases.judge import Seen, at_path, faults
from tests.support.cases.requests import Values, encode, fill, pack
from tests.support.loopback import Handler, Server, serving

Case = dict[str, Any]

_UNTIL_S = 90.0


def run(case: Case, api: str, files: Path) -> list[str]:
    """The differences between the answers and the right ones; empty where all is right."""
    with _served(case.get("serve", {}), files) as server:
        values: Values = {"served": f"http://127.0.0.2:{server.port}"} if server else {}
        for request in case.get("first", []):
            _ask_first(request, api, files, values)
        return ask(case["request"], case["right"], api, files, values, server)


def ask(
    request: dict[str, Any],
    right: dict[str, Any],
    api: str,
    files: Path,
    values: Values,
    server: Server | None = None,
) -> list[str]:
    """Send one request, and judge its answer."""
    started = time.monotonic()
    answer = _send(request, api, files, values)
    seen = Seen(
        answer=answer,
        seconds=time.monotonic() - started,
        fetched=server.seen if server else [],
        output_of=lambda file: _output_of(file, api, files),
        drawn=lambda: _drawn(request["body"]["file"], api, files),
        read=lambda file: (files / file).read_bytes(),
    )
    differences = faults(right, seen)
    told = answer.body[:600].decode(errors="replace")
    return [*differences, f"the answer: {answer.status} {told}"] if differences else []


def _send(request: dict[str, Any], api: str, files: Path, values: Values) -> Answer:
    return exchange(api, encode(request, files, values, urlsplit(api).netloc))


def _ask_first(request: dict[str, Any], api: str, files: Path, values: Values) -> None:
    """Send a request that comes before, until it says so, and keep values of its answer."""
    path, wanted = request.get("until", (None, []))
    until = time.monotonic() + _UNTIL_S
    while True:
        answer = _send(request, api, files, values)
        body = json.loads(answer.body)
        if path is None or at_path(body, path) in wanted:
            break
        assert time.monotonic() < until, f"{fill(request['path'], values)}: {answer}"
        time.sleep(0.1)
    values.update({name: at_path(body, place) for name, place in request.get("keep", {}).items()})


def _submit(file: str, query: str, api: str, files: Path) -> dict[str, Any]:
    request = {
        "method": "POST",
        "path": f"/v1/predictions?{query}",
        "headers": {"Prefer": "wait=60"},
        "body": {"file": file},
    }
    prediction: dict[str, Any] = json.loads(_send(request, api, files, {}).body)
    return prediction


def _output_of(file: str, api: str, files: Path) -> dict[str, Any]:
    output: dict[str, Any] = _submit(file, "model=codes", api, files)["output"]
    return output


def _drawn(file: str, api: str, files: Path) -> bytes:
    prediction = _submit(file, "model=codes&visualize=true&confidence=0.99", api, files)
    return _send({"path": f"/v1/predictions/{prediction['id']}/image"}, api, files, {}).body


@contextmanager
def _served(serve: dict[str, Any], files: Path) -> Iterator[Server | None]:
    """A server that answers as `serve` says: paths to files, with headers, packed, or hanging."""
    if not serve:
        yield None
        return
    over = threading.Event()

    def answer(request: Handler) -> None:
        entry = serve.get(request.path)
        if entry is None:
            request.reply(404)
            return
        if entry.get("hangs"):
            over.wait()
            return
        data = (files / entry["file"]).read_bytes()
        data = pack(data, entry["packed"]) if "packed" in entry else data
        request.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **entry.get("headers", {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

    with serving(answer, address="127.0.0.2") as server:
        try:
            yield server
        finally:
            over.set()
