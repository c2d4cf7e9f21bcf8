"""`sluice models list`, `show` and `rollback`: what they print."""

import json
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice.cli.model_tools import ModelTools
from sluice.errors import UnsupportedModel
from sluice.models import Layout, Model, Task
from sluice.repository.config import SavedConfig
from sluice.repository.description import Description
from sluice.repository.repository import Change, Entry

_States = dict[str, dict[str, tuple[list[int], str]]]


def list_(tools: ModelTools, *, as_json: bool) -> None:
    """Print all models."""
    states = tools.repository.states()
    models = [_facts(entry, states) for entry in tools.repository.entries()]
    if as_json:
        typer.echo(json.dumps(models, ensure_ascii=False))
        return
    table = Table(
        "name", "version", "task", "layout", "classes", "size", "folded", "recipe", *states
    )
    for model in models:
        table.add_row(*(escape(cell) for cell in _cells(model, states)))
    Console().print(table)
    for line in [*_reasons(models), *tools.notes]:
        typer.echo(line)


def show(tools: ModelTools, name: str, *, as_json: bool) -> None:
    """Print one model. Raises NotFound."""
    entry = tools.repository.entry(name)
    facts = _facts(entry, tools.repository.states()) | {"config": entry.text}
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for key, value in facts.items():
        if key not in ("config", "classes"):
            typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    for number, label in enumerate(facts["classes"] or []):
        typer.echo(f"class {number}: {label}")
    typer.echo(f"\n{entry.text}", nl=False)


def changed(tools: ModelTools, change: Change, *, as_json: bool) -> None:
    """Print what a roll-back did."""
    if as_json:
        facts = {"name": change.name, "version": change.version, "changed": change.changed}
        typer.echo(json.dumps(facts | {"loaded": list(change.loaded)}))
        return
    typer.echo(f"{change.name} is version {change.version}")
    for note in tools.notes:
        typer.echo(f"  {note}")


def _facts(entry: Entry, states: _States) -> dict[str, Any]:
    """A model as JSON; what is not known is null."""
    saved = entry.saved
    problem = saved if isinstance(saved, UnsupportedModel) else saved.model
    model = problem if isinstance(problem, Model) else None
    return {
        "name": entry.name,
        "version": entry.live,
        "versions": list(entry.versions),
        "task": model and model.task,
        "layout": layout_as_it_came(model) if model else None,
        "classes": list(model.names) if model else None,
        "imgsz": list(model.imgsz) if model else None,
        "recipe": model and model.recipe,
        "folded": model.layout is Layout.CANDIDATES or _is_bytes(model) if model else None,
        "retired": isinstance(saved, SavedConfig) and saved.retired,
        "reason": None if isinstance(problem, Model) else problem.message,
        "triton": {
            address: _state(models.get(entry.name), entry) for address, models in states.items()
        },
    }


def layout_as_it_came(model: Model | Description) -> str | None:
    """The layout of the graph before it was folded; a classifier has none."""
    return None if model.task is Task.CLASSIFY else model.raw_layout or model.layout


def _is_bytes(model: Model) -> bool:
    """True where preparation is inside the graph."""
    return model.input.dtype == "UINT8" and model.channels_last


def _state(found: tuple[list[int], str] | None, entry: Entry) -> dict[str, Any]:
    """The state of a model in one Triton."""
    ready, reason = found or ([], "")
    if entry.live in ready:
        return {"ready": True, "versions": ready, "reason": None}
    if ready:
        reason = f"runs version {max(ready)}; `sluice models add` or a restart loads the new one"
    return {"ready": False, "versions": ready, "reason": reason or "not loaded"}


def _cells(model: dict[str, Any], states: _States) -> list[str]:
    height, width = model["imgsz"] or ("", "")
    return [
        model["name"],
        str(model["version"] or ""),
        model["task"] or "",
        model["layout"] or "",
        str(len(model["classes"])) if model["classes"] else "",
        f"{width} x {height}" if width else "",
        {True: "yes", False: "no"}.get(model["folded"], ""),
        model["recipe"] or "",
        *("ready" if model["triton"][address]["ready"] else "not ready" for address in states),
    ]


def _reasons(models: list[dict[str, Any]]) -> list[str]:
    lines = []
    for model in models:
        if model["reason"]:
            lines.append(f"{model['name']}: {model['reason']}")
        if model["retired"]:
            lines.append(f"{model['name']}: is being removed; it takes no new predictions")
        lines += [
            f"{model['name']} in {address}: {state['reason']}"
            for address, state in model["triton"].items()
            if not state["ready"]
        ]
    return lines
