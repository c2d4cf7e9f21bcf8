"""Prints the reference of the HTTP interface, made from its OpenAPI document.

    python -m tools.site.api_reference > docs/reference/api.md

A test holds the page against the code, and runs every example.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from api.app import create_app
from sluice.settings import Settings

#: The path parameters of the examples. A name in capitals is a variable of the page's first block.
PATHS = {
    "predictions": "example-1",
    "batches": "$BATCH",
    "files": "$FILE",
    "deliveries": "example-1_completed",
    "dead-letters": "example-1",
}
HEAD = """# Every call

The page is made from the service's OpenAPI document, which is at `/openapi.json`.
[The HTTP interface](../guide/http.md) explains the calls, and [error codes](errors.md) the errors.

The examples need `desk.jpg`, from `samples/`, and these variables:

```sh
export SLUICE_URL=http://127.0.0.1:8080
id() { python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
curl -s -X PUT "$SLUICE_URL/v1/predictions/example-1?wait=30" -F image=@desk.jpg \\
     -F visualize=true -F webhook=https://receiver.example.com/
export BATCH=$(curl -s "$SLUICE_URL/v1/batches" -F image=@desk.jpg -F image=@desk.jpg | id)
export FILE=$(curl -s "$SLUICE_URL/v1/files" -F content=@desk.jpg | id)
```

With [API keys](../guide/keys.md), each call needs the header `Authorization: Bearer KEY`.
In Python, the examples use the package `requests`; in JavaScript, Node 20 or later.
"""


@dataclass(frozen=True)
class Example:
    """One call of an operation."""

    query: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """Fields of the form; a value `@name` is a file."""
    status: str = "2"
    """A pattern for the status of the answer."""
    note: str = ""
    is_binary: bool = False
    path: str = ""
    """The path, where it is not the usual one."""
    ends: bool = False
    """The first call of several succeeds, and the next ones find nothing."""
    json: str = ""
    """A body of JSON."""


_IMAGE = (("image", "@desk.jpg"), ("confidence", "0.3"))
EXAMPLES = {
    "predictions_submit": Example("?wait=30", _IMAGE, "201"),
    "predictions_submit_to_model": Example("?wait=30", _IMAGE, "201"),
    "predictions_put": Example(fields=_IMAGE, status="202", path="/v1/predictions/example-2"),
    "predictions_list": Example("?limit=2&status=succeeded"),
    "predictions_get": Example("?wait=30"),
    "predictions_cancel": Example(
        status="409", note="`example-1` has ended already, so the answer is 409."
    ),
    "predictions_image": Example(is_binary=True),
    "batches_submit": Example(
        fields=(("image", "@desk.jpg"), ("image", "@desk.jpg")), status="202"
    ),
    "batches_get": Example("?wait=30"),
    "batches_cancel": Example(status="409", note="The batch has ended already: the answer is 409."),
    "files_create": Example(fields=(("content", "@desk.jpg"),), status="201"),
    "files_delete": Example(status="204|404", ends=True),
    "dead_letters_requeue": Example(status="409", note="`example-1` is no dead letter: 409."),
    "webhooks_test": Example(json='{"url": "https://receiver.example.com/"}', status="202"),
    "webhooks_redeliver": Example(status="202|409", note="Only a settled delivery is sent again."),
}


def document() -> dict[str, Any]:
    """The OpenAPI document of a service with default settings."""
    app = create_app()
    app.state.services = SimpleNamespace(settings=Settings())
    schema: dict[str, Any] = app.openapi()
    return schema


def reference(schema: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD]
    tag = ""
    operations = [
        (method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    order = list(dict.fromkeys(operation["tags"][0] for _, _, operation in operations))
    operations.sort(key=lambda entry: order.index(entry[2]["tags"][0]))
    for method, path, operation in operations:
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"## {tag.capitalize()}\n")
        parts.append("\n".join(_operation(method.upper(), path, operation)))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    example = EXAMPLES.get(operation["operationId"], Example())
    yield f"### {method} {path}\n"
    yield _sentences(operation.get("description", "")) + "\n"
    if operation.get("parameters"):
        yield "| parameter | in | meaning |\n| --- | --- | --- |"
        for parameter in operation["parameters"]:
            meaning = " ".join(parameter.get("description", "").split()).replace("|", "\\|")
            yield f"| `{parameter['name']}` | {parameter['in']} | {meaning} |"
        yield ""
    if "requestBody" in operation:
        kinds = ", ".join(f"`{kind}`" for kind in operation["requestBody"]["content"])
        yield f"Bodies: {kinds}.\n"
    answers = ", ".join(f"`{status}`" for status in sorted(operation["responses"]))
    yield f"Statuses of the answer: {answers}.\n"
    if example.note:
        yield example.note + "\n"
    place = example.path or _filled(path)
    yield from _curl(method, place, example)
    yield from _python(method, place, example)
    yield from _javascript(method, place, example)


def _filled(path: str) -> str:
    noun = path.split("/")[2] if path.count("/") > 1 else ""
    for name, value in {"id": PATHS.get(noun, ""), "owner": "sluice", "version": "codes"}.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{name}", "codes")


def _marks(example: Example, *, curl: bool) -> str:
    marks = [] if curl and example.is_binary else [f"prints={example.status}"]
    if curl and example.status.startswith("4"):
        marks.append("exit=22")
    if curl and example.status == "202|409":
        marks.append("exit=0|22")
    return f"<!-- block: {'; '.join(marks)} -->\n" if marks else ""


def _curl(method: str, path: str, example: Example) -> Iterator[str]:
    words = ["curl", "-o drawn.jpg" if example.is_binary else "-i"]
    if method not in ("GET", "POST") or (
        method == "POST" and not example.fields and not example.json
    ):
        words.append(f"-X {method}")
    words.append(f'"$SLUICE_URL{path}{example.query}"')
    words += [f"-F {name}={value}" for name, value in example.fields]
    words += ["-H 'Content-Type: application/json'", f"-d '{example.json}'"] if example.json else []
    yield f"{_marks(example, curl=True)}```sh\n{' '.join(words)}\n```\n"


def _python(method: str, path: str, example: Example) -> Iterator[str]:
    lines = ["import os", "", "import requests", ""]
    arguments = [f'os.environ["SLUICE_URL"] + {_text(path + example.query, "python")}']
    files = [(name, value[1:]) for name, value in example.fields if value.startswith("@")]
    texts = {name: value for name, value in example.fields if not value.startswith("@")}
    if files:
        entries = ", ".join(f'("{name}", open("{file}", "rb"))' for name, file in files)
        lines.append(f"files = [{entries}]")
        arguments.append("files=files")
    if texts:
        arguments.append(f"data={texts}".replace("'", '"'))
    if example.json:
        arguments.append(f"json={example.json}")
    lines.append(f"answer = requests.{method.lower()}(")
    lines += [*(f"    {argument}," for argument in arguments), ")"]
    shown = "len(answer.content)" if example.is_binary else "answer.text"
    lines.append(f"print(answer.status_code, {shown})")
    yield f"{_marks(example, curl=False)}```python\n{chr(10).join(lines)}\n```\n"


def _javascript(method: str, path: str, example: Example) -> Iterator[str]:
    lines = []
    if example.fields:
        lines += ['import { openAsBlob } from "node:fs";', "", "const form = new FormData();"]
    for name, value in example.fields:
        given = f'await openAsBlob("{value[1:]}")' if value.startswith("@") else f'"{value}"'
        lines.append(f'form.append("{name}", {given});')
    options = [f'method: "{method}"'] if method != "GET" else []
    options += ["body: form"] if example.fields else []
    if example.json:
        options.append('headers: { "Content-Type": "application/json" }')
        options.append(f"body: JSON.stringify({example.json})")
    tail = f", {{ {', '.join(options)} }}" if options else ""
    url = "${process.env.SLUICE_URL}" + _text(path + example.query, "javascript")
    lines.append(f"const answer = await fetch(`{url}`{tail});")
    shown = (
        "(await answer.arrayBuffer()).byteLength" if example.is_binary else "await answer.text()"
    )
    lines.append(f"console.log(answer.status, {shown});")
    yield f"{_marks(example, curl=False)}```javascript\n{chr(10).join(lines)}\n```\n"


def _text(path: str, language: str) -> str:
    """A path in which `$NAME` is a variable of the environment."""
    if language == "javascript":
        return re.sub(r"\$([A-Z]+)", r"${process.env.\1}", path)
    parts = re.split(r"(\$[A-Z]+)", path)
    return " + ".join(
        f'os.environ["{part[1:]}"]' if part.startswith("$") else f'"{part}"'
        for part in parts
        if part
    )


def _sentences(text: str) -> str:
    """Text with a line for each sentence."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(re.sub(r"(?<=[.!?]) (?=[A-Z`])", "\n", part) for part in paragraphs)


if __name__ == "__main__":
    sys.stdout.write(reference(document()))
