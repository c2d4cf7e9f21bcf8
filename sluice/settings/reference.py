"""The settings as a page of Markdown, which is docs/reference/settings.md."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from pydantic import SecretStr

from sluice.settings.environment import groups, variables

_HEAD = """\
# Settings

<!-- Written by `python -m sluice.settings > docs/reference/settings.md`. Do not edit. -->

Every process reads its settings from environment variables when it starts.
A wrong value stops the process, and the error names the variable.

Secrets may come from files instead.
`SLUICE_SECRETS_DIR` names a directory, as Docker and Kubernetes mount one.
A file's name there is the variable's name in lower case, such as `sluice_redis_url`.
A variable of the environment wins over a file.

Lists are separated by commas.
Names end with the unit: `_s` means seconds.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for group, kind in groups().items():
        yield f"## {group}\n"
        yield cleandoc(kind.__doc__ or "") + "\n"
        yield "| variable | default | meaning |"
        yield "| --- | --- | --- |"
        for variable in variables():
            if variable.group == group:
                default = _default(variable.info.default)
                yield f"| `{variable.name}` | {default} | {variable.info.description} |"
        yield ""


def _default(value: Any) -> str:
    """A default as it is written in the environment; empty where there is none."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, float):
        value = f"{value:g}"
    return "" if value in {None, ""} else f"`{value}`"
