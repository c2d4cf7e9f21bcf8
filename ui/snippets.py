"""The same submission for a terminal, Python and JavaScript."""

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

KEY = "SLUICE_KEY"  # the variable of the environment: no key stands in a snippet
_WAIT_S = 50

Options = Mapping[str, Any]


def base_url(prediction: Mapping[str, Any], default: str) -> str:
    """The address at which the api knows itself, from a prediction's own URL."""
    get = urlsplit(str(prediction.get("urls", {}).get("get", "")))
    path, mark, _ = get.path.partition("/v1/")
    return f"{get.scheme}://{get.netloc}{path}" if get.netloc and mark else default


def curl(url: str, name: str, options: Options, *, with_key: bool) -> str:
    """A command for a shell."""
    # Inside double quotes, so that the shell puts the key in.
    key = [f'-H "Authorization: Bearer ${KEY}"'] if with_key else []
    fields = [f"-F {shlex.quote(f'{field}={text}')}" for field, text in _fields(options)]
    image = f"-F {shlex.quote(f'image=@{name}')}"
    target = shlex.quote(f"{url}/v1/predictions?wait={_WAIT_S}")
    return " \\\n  ".join([f"curl -s {target}", *key, image, *fields])


def python(url: str, name: str, options: Options, *, with_key: bool) -> str:
    """A program for the package `sluice`."""
    key = f', key=os.environ["{KEY}"]' if with_key else ""
    lines = [
        *(["import os", ""] if with_key else []),
        "from sluice.client import Client",
        "",
        f"with Client({url!r}{key}) as client:",
        f"    prediction = client.run({name!r}"
        + "".join(f", {field}={value!r}" for field, value in options.items())
        + ")",
        "print(prediction.status, prediction.error or prediction.output.raw)",
    ]
    return "\n".join(lines)


def javascript(url: str, name: str, options: Options, *, with_key: bool) -> str:
    """A program for Node 20 or later. A browser has the same calls."""
    headers = f"\n  headers: {{ Authorization: `Bearer ${{process.env.{KEY}}}` }}," * with_key
    appended = [f'form.append("{field}", {json.dumps(text)});' for field, text in _fields(options)]
    lines = [
        'import { openAsBlob } from "node:fs";',
        "",
        "const form = new FormData();",
        f'form.append("image", await openAsBlob({json.dumps(name)}), {json.dumps(name)});',
        *appended,
        "",
        f"const url = {json.dumps(f'{url}/v1/predictions?wait={_WAIT_S}')};",
        f'const answer = await fetch(url, {{{headers}\n  method: "POST",\n  body: form,\n}});',
        "if (!answer.ok) throw new Error(await answer.text());",
        "console.log(await answer.json());",
    ]
    return "\n".join(lines)


def _fields(options: Options) -> list[tuple[str, str]]:
    """The options as a form's fields; a list becomes several."""
    fields = []
    for field, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        fields += [(field, one if isinstance(one, str) else json.dumps(one)) for one in values]
    return fields
