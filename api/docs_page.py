"""The page at `/docs`: the OpenAPI document as HTML, in one file and without a script.

FastAPI's own page loads Swagger UI from another host, which a closed network does not reach.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_METHODS = ("get", "put", "post", "delete")
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { overflow-x: auto; padding: .6rem; background: #8882; border-radius: .3rem }
details { border: 1px solid #8886; border-radius: .3rem; margin: .4rem 0; padding: .3rem .8rem }
summary { cursor: pointer }
summary b { display: inline-block; min-width: 4.2rem; text-transform: uppercase }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 }
th, td { text-align: left; vertical-align: top; border-top: 1px solid #8884; padding: .3rem .5rem }
h4 { margin: .8rem 0 .2rem }
"""


def render(schema: Schema, base_url: str) -> str:
    """The whole page. `base_url` begins the URLs of the examples; no URL of the page has a host."""
    info = schema["info"]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            _text(info.get("description", "")),
            '<p>The same as a document for programs: <a href="openapi.json">openapi.json</a>.</p>',
            *_operations(schema, base_url),
            "<h2>Schemas</h2>",
            *_schemas(schema),
            "</body></html>",
        ]
    )


def _operations(schema: Schema, base_url: str) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method in _METHODS:
            if operation := operations.get(method):
                block = "\n".join(_operation(path, method, operation, base_url))
                by_tag.setdefault(operation["tags"][0], []).append(block)
    for tag, blocks in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from blocks


def _operation(path: str, method: str, operation: Schema, base_url: str) -> Iterator[str]:
    name = escape(operation["operationId"])
    yield f'<details id="{name}"><summary><b>{method}</b> <code>{escape(path)}</code>'
    yield f" {escape(operation.get('summary', ''))}</summary>"
    yield _text(operation.get("description", ""))
    verb = "" if method == "get" else f" -X {method.upper()}"
    key = " -H 'Authorization: Bearer KEY'" if operation.get("security") else ""
    yield f"<pre>curl{verb}{key} {escape(base_url + path)}</pre>"
    if parameters := operation.get("parameters"):
        yield "<h4>Parameters</h4>"
        yield _table(
            [
                (
                    f"{_code(entry['name'])} in the {escape(entry['in'])}",
                    _type(entry["schema"]) + (", required" if entry.get("required") else ""),
                    _text(entry.get("description") or entry["schema"].get("description", "")),
                )
                for entry in parameters
            ]
        )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<h4>Body: {_code(kind)}</h4>"
        yield _described(content["schema"])
    yield "<h4>Answers</h4>"
    yield _table([_answer(status, entry) for status, entry in operation["responses"].items()])
    yield "</details>"


def _answer(status: str, answer: Schema) -> tuple[str, str, str]:
    kinds = [
        f"{_code(kind)} {_type(content.get('schema', {}))}"
        for kind, content in answer.get("content", {}).items()
    ]
    if headers := answer.get("headers"):
        kinds.append("headers " + ", ".join(map(_code, headers)))
    return _code(status), "<br>".join(kinds), _text(answer.get("description", ""))


def _schemas(schema: Schema) -> Iterator[str]:
    for name, entry in sorted(schema.get("components", {}).get("schemas", {}).items()):
        yield f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        yield _text(entry.get("description", ""))
        yield f"{_described(entry)}</details>"


def _described(schema: Schema) -> str:
    """The fields of an object, or the type of any other schema."""
    properties = schema.get("properties")
    if not properties:
        return f"<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    return _table(
        [
            (
                _code(name),
                _type(field) + (", required" if name in required else _default(field)),
                _text(field.get("description", "")),
            )
            for name, field in properties.items()
        ]
    )


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, {}, []) else f", default {_code(str(default))}"


def _type(schema: Schema) -> str:
    """The type in words, such as "array of string or integer"."""
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema and not schema.get("properties"):
            return " or ".join(dict.fromkeys(map(_type, schema[several])))
    if "enum" in schema:
        return " or ".join(_code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return _code(str(schema["const"]))
    kind = str(schema.get("type", "any"))
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"array of {_type(schema['items'])}"
    return escape(f"{kind} ({schema['format']})" if "format" in schema else kind)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _text(text: str) -> str:
    """Paragraphs, and code between backticks; nothing else of Markdown is used."""
    paragraphs = (re.sub("`([^`]+)`", r"<code>\1</code>", part) for part in _paragraphs(text))
    return "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)


def _paragraphs(text: str) -> list[str]:
    return [escape(part) for part in re.split(r"\n\s*\n", text.strip()) if part]
