"""Comparing what a command printed with what a document shows."""

import re

_PART = re.compile(r"(?P<gap>…)|(?P<id>[a-z0-9]{26})|(?P<number>\d+(?:\.\d+)?)|(?P<space>\s+)|.")


def pattern(shown: str) -> "re.Pattern[str]":
    """A pattern for the output that a document shows.

    `…` stands for anything, a number for any number, and an id for any id. White space may be
    there or not. All else is as it stands there.
    """
    parts = [_part(match) for match in _PART.finditer(shown.strip())]
    return re.compile("".join(parts), re.DOTALL)


def _part(match: "re.Match[str]") -> str:
    if match["gap"]:
        return ".*?"
    if match["id"]:
        return "[a-z0-9]{26}"
    if match["number"]:
        return r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    return r"\s*" if match["space"] else re.escape(match[0])


def session(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    steps: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line.removeprefix("$ "), ""))
        else:
            command, shown = steps[-1]
            steps[-1] = (command, f"{shown}{line}\n")
    return steps
