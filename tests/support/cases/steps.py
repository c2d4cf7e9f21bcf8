"""The steps of a case that has a set-up, done in turn."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support.cases.run import ask
from tests.support.cases.world import World

Step = dict[str, Any]

_SAYS_WITHIN_S = 60.0
_READY_WITHIN_S = 90.0
_TERMINAL = ("succeeded", "failed", "canceled", "aborted")


def play(steps: list[Step], world: World, files: Path) -> list[str]:
    """Do the steps in turn; the differences of the first one that is not right."""
    for step in steps:
        if differences := _step(step, world, files):
            return [f"the step {step['do']!r}:", *differences]
    return []


def _step(step: Step, world: World, files: Path) -> list[str]:
    match step["do"]:
        case "any":
            choices = [play(choice, world, files) for choice in step["of"]]
            return [] if [] in choices else [line for choice in choices for line in choice]
        case "answers":
            return ask(step["request"], step["right"], world.api, files, {})
        case "submit":
            for _ in range(step.get("count", 1)):
                _submit(world, files / step.get("file", "files/plain.jpg"))
            return []
        case "accepts":
            return _accepts(world, files / "files/plain.jpg", step["within_s"])
        case "redis":
            world.redis(step.get("on", 0), step["command"])
            return []
        case other:
            return _STEPS[other](step, world)


def _sleep(step: Step, world: World) -> list[str]:
    time.sleep(step["s"])
    return []


def _switch(step: Step, world: World) -> list[str]:
    world.switch()
    return []


def _swallow(step: Step, world: World) -> list[str]:
    world.swallow()
    return []


def _ready(step: Step, world: World) -> list[str]:
    def look() -> bool:
        answer = world.readyz()
        return answer is not None and answer.is_success

    return [] if _within(_READY_WITHIN_S, look) else [f"readyz: {_told(world)}"]


def _not_ready(step: Step, world: World) -> list[str]:
    answer = world.readyz()
    return ["readyz is ok"] if answer is not None and answer.is_success else []


def _refuses_to_start(step: Step, world: World) -> list[str]:
    def look() -> bool:
        return all(process.poll() is not None for process in world.parts.values())

    if not _within(_SAYS_WITHIN_S, look):
        return ["a part runs"]
    return [f"{name} ended with 0" for name, p in world.parts.items() if p.returncode == 0]


def _says(step: Step, world: World) -> list[str]:
    """One of the words is told. A busy machine needs more than a step's sleep to come to it."""

    def look() -> bool:
        told = _texts(step, world)
        return any(word.lower() in told for word in step["words"])

    return [] if _within(_SAYS_WITHIN_S, look) else [f"none of {step['words']} is said"]


def _says_not(step: Step, world: World) -> list[str]:
    told = _texts(step, world)
    return [f"{word!r} is said" for word in step["words"] if word.lower() in told]


def _all_end(step: Step, world: World) -> list[str]:
    wanted = tuple(step.get("as", _TERMINAL))

    def look() -> bool:
        if world.setup.get("revive", True):
            world.revive()
        return all(_status(world, name) in _TERMINAL for name in world.accepted)

    _within(step["within_s"], look)
    ends = {name: _status(world, name) for name in world.accepted}
    return [f"{name} is {status}" for name, status in ends.items() if status not in wanted]


def _memory(step: Step, world: World) -> list[str]:
    peak = world.peak_mb()
    return [] if peak < step["below_mb"] else [f"the worker held {peak:.0f} MB"]


_STEPS: dict[str, Callable[[Step, World], list[str]]] = {
    "sleep": _sleep,
    "switch": _switch,
    "swallow": _swallow,
    "ready": _ready,
    "not-ready": _not_ready,
    "refuses-to-start": _refuses_to_start,
    "says": _says,
    "says-not": _says_not,
    "all-end": _all_end,
    "memory": _memory,
}


def _accepts(world: World, image: Path, within_s: float) -> list[str]:
    """A new submission succeeds within that time."""
    last = ""

    def look() -> bool:
        nonlocal last
        if world.setup.get("revive", True):
            world.revive()
        if not pending:
            last, name = _submit(world, image)
            pending.extend([name] if name else [])
        elif (last := _status(world, pending[-1])) in _TERMINAL and last != "succeeded":
            pending.clear()
        return last == "succeeded"

    pending: list[str] = []
    return [] if _within(within_s, look) else [f"no submission succeeds: {last}"]


def _submit(world: World, image: Path) -> tuple[str, str | None]:
    """The answer in words, and the id where the submission is accepted."""
    try:
        answer = httpx.post(
            f"{world.api}/v1/predictions",
            content=image.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
            timeout=60,
        )
    except httpx.HTTPError as error:
        return repr(error), None
    if answer.status_code not in (201, 202):
        return f"{answer.status_code} {answer.text[:300]}", None
    world.accepted.append(answer.json()["id"])
    return "accepted", world.accepted[-1]


def _status(world: World, name: str) -> str:
    try:
        answer = httpx.get(f"{world.api}/v1/predictions/{name}", timeout=30)
    except httpx.HTTPError as error:
        return repr(error)
    return str(answer.json().get("status", answer.text))


def _texts(step: Step, world: World) -> str:
    parts = step.get("parts", [*world.parts, "readyz"])
    texts = [_told(world) if part == "readyz" else world.log(part) for part in parts]
    return "\n".join(texts).lower()


def _told(world: World) -> str:
    answer = world.readyz()
    return "" if answer is None else answer.text


def _within(timeout_s: float, look: Callable[[], bool]) -> bool:
    end = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
