"""The commands as a page of Markdown, written from their own help.

`python -m sluice.cli.reference > docs/reference/cli.md`
"""

import re
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any

import typer
from typer.main import get_command

from sluice.cli.app import app
from sluice.cli.console import Exit

_HEAD = """\
# Commands

<!-- Written by `python -m sluice.cli.reference > docs/reference/cli.md`. Do not edit. -->

`sluice COMMAND --help` prints the same text.
`sluice --install-completion` makes the shell complete commands, options, models and ids.
`--json` prints JSON on the standard output, for programs; all else goes to the standard error.
Commands that talk to a service take its address from `SLUICE_URL`, and a key from `SLUICE_API_KEY`.
[Installing](../guide/install.md) tells which commands need an extra.

## Exit status

Every command ends with one of these.

| status | meaning |
| --- | --- |
"""
_MEANINGS: Mapping[Exit, str] = {
    Exit.DONE: "All was done; for `sluice get`, the prediction has succeeded. "
    "Commands that run until Ctrl-C end so.",
    Exit.FAILED: "Something failed: an image, a prediction, a check, or a change that was refused. "
    "A package is missing, or a file can't be read.",
    Exit.USAGE: "An option or an argument is wrong. Nothing was done.",
    Exit.UNAVAILABLE: "The service, Redis or Triton does not answer, or refuses the caller. "
    "Look at the address and the key, or try again later.",
    Exit.INTERRUPTED: "Ctrl-C. `sluice submit` with `--out` goes on from there.",
}
#: Tells `tests/docs` that a block need not run: its options are checked.
_MARK = "<!-- block: parsed -->"


def reference() -> str:
    """Return the whole page."""
    statuses = "".join(f"| {status.value} | {text} |\n" for status, text in _MEANINGS.items())
    return _HEAD + statuses + "".join(f"\n{section}" for section in _sections())


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with its name, such as `models add`."""
    for name, command in sorted(_children(get_command(app)).items()):
        if children := _children(command):
            yield from ((f"{name} {child}", children[child]) for child in sorted(children))
        else:
            yield name, command


def _children(command: Any) -> dict[str, Any]:
    return dict(getattr(command, "commands", {}))


def _sections() -> Iterator[str]:
    for name, command in commands():
        context = typer.Context(command, info_name=f"sluice {name}")
        yield f"## sluice {name}\n\n{_text(command.help)}\n"
        rows = [_row(*record) for record in _records(command, context)]
        yield "| argument or option | meaning | default |\n| --- | --- | --- |\n" + "".join(rows)


def _records(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        if record := parameter.get_help_record(context):
            yield record


def _text(text: str | None) -> str:
    """The help, with a sentence a line and examples as code."""
    blocks = []
    for block in re.split(r"\n\s*\n", cleandoc(text or "")):
        line = " ".join(block.split())
        if line == "Examples:":
            continue
        if line.startswith(("Example: ", "sluice ")):
            blocks.append(f"{_MARK}\n```sh\n{line.removeprefix('Example: ')}\n```")
        else:
            blocks.append(re.sub(r"(?<=[.!?]) (?=[A-Z-])", "\n", line))
    return "\n\n".join(blocks)


def _row(name: str, meaning: str) -> str:
    parts = re.fullmatch(r"(.*?)\s*(?:\[([^\]]*)\])?", " ".join(meaning.split()))
    assert parts is not None
    meaning, facts = parts[1], parts[2] or ""
    named = dict(fact.split(": ", 1) for fact in facts.split("; ") if ": " in fact)
    default = named.get("default", "")
    if variable := named.get("env var"):
        meaning += f" Or `{variable}`."
    cells = (f"`{name}`", meaning, f"`{default}`" if default else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
