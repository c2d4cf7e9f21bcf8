"""A case's request as bytes. The README beside the cases says how a request is written."""

import base64
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.cases.http import build

Values = dict[str, str]

_BOUNDARY = "a-boundary-of-the-cases"


def encode(request: dict[str, Any], files: Path, values: Values, host: str) -> bytes:
    """The bytes of a request. `values` stand for `{{name}}`, and `files` holds its files."""
    if raw := request.get("raw"):
        return fill(raw, values).encode()
    headers: dict[str, str | None] = dict(request.get("headers", {}))
    content_type, body = _body(request.get("body"), files, values)
    if content_type:
        headers = {"Content-Type": content_type, **headers}
    return build(request.get("method", "GET"), fill(request["path"], values), headers, body, host)


def fill(text: str, values: Values) -> str:
    """`text` with its `{{name}}`s replaced."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)


def pack(data: bytes, coding: str) -> bytes:
    """The data in a content coding. Brotli is no part of Python: the data stay as they are."""
    packers = {"gzip": gzip.compress, "deflate": zlib.compress, "br": bytes}
    return packers[coding](data)


def _body(
    body: dict[str, Any] | None, files: Path, values: Values
) -> tuple[str | None, bytes | None]:
    if body is None:
        return None, None
    if "file" in body:
        kind, data = "application/octet-stream", (files / body["file"]).read_bytes()
    elif "form" in body:
        kind = f"multipart/form-data; boundary={_BOUNDARY}"
        data = body.get("preamble", "").encode() + _form(body["form"], files, values)
    else:
        kind = "application/json"
        value = _filled(body["json"], files, values)
        data = (body.get("before", "") + json.dumps(value)).encode()
    return kind, pack(data, body["packed"]) if "packed" in body else data


def _form(parts: list[dict[str, Any]], files: Path, values: Values) -> bytes:
    lines = []
    for part in parts:
        disposition = part.get("disposition") or f'name="{part["name"]}"'
        head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n"
        if "type" in part:
            head += f"Content-Type: {part['type']}\r\n"
        data = (files / part["file"]).read_bytes() if "file" in part else b""
        if "text" in part:
            data = str(_filled(part["text"], files, values)).encode()
        lines.append(head.encode() + b"\r\n" + data + b"\r\n")
    return b"".join(lines) + f"--{_BOUNDARY}--\r\n".encode()


def _filled(value: Any, files: Path, values: Values) -> Any:
    """JSON with its `{{name}}`s and `data:` URIs filled in."""
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, list):
        return [_filled(entry, files, values) for entry in value]
    if isinstance(value, dict):
        if "data_uri" in value:
            return _data_uri(value, files)
        return {name: _filled(entry, files, values) for name, entry in value.items()}
    return value


def _data_uri(uri: dict[str, Any], files: Path) -> str:
    data = (files / uri["data_uri"]).read_bytes() + bytes(uri.get("then_zeros", 0))
    text = _base64(data, uri.get("base64", "plain"))
    head = uri.get("head", "data:image/jpeg;base64,")
    return f"{uri.get('before', '')}{head}{text}{uri.get('after', '')}"


def _base64(data: bytes, form: str) -> str:
    """Base64 in a form that is described by words."""
    text = base64.b64encode(data).decode()
    if "url-safe" in form:
        text = text.translate(str.maketrans("+/", "-_"))
    if "no padding" in form:
        text = text.rstrip("=")
    line_end = "\r\n" if "CRLF" in form else "\n"
    if "lines" in form:
        width = int((re.findall(r"\d+", form) or ["76"])[0])
        text = line_end.join(text[at : at + width] for at in range(0, len(text), width))
    if "tabs" in form:
        text = "\t".join(text[at : at + 40] for at in range(0, len(text), 40))
    if "space first" in form:
        text = f" {text}"
    if "at the end" in form:
        text += line_end
    if "padding only" in form:
        return text.replace("=", "%3D")
    return quote(text, safe="") if "percent" in form else text
