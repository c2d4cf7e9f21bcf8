"""The page of the experiment: writes the CSV files and the figures, and fills in the tables.

python -m benchmarks.cookbook report     makes figures and tables again from the CSV files
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cookbook import figures, rows
from benchmarks.cookbook.figures import Group
from benchmarks.cookbook.rows import Burst, Cell, Row

CALLS, BURSTS, FACTS, PAGE = "calls.csv", "bursts.csv.gz", "run.json", "README.md"
TITLES = {"serial": "Serial", "concurrency": "Concurrency", "random": "Random"}
BAR_END, BAR_ACCEPT_S = 0.55, 0.04


def write(
    folder: Path, sessions: Sequence[Row], bursts: Sequence[Row], facts: dict[str, Any]
) -> None:
    """Write the rows and the conditions of a run, and everything that follows from them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.write(folder / CALLS, sessions)
    rows.write(folder / BURSTS, bursts)
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
    refresh(folder)


def refresh(folder: Path) -> None:
    """Write the figures, and the parts of the page between markers, from the files in `folder`."""
    sessions, bursts = rows.read(folder / CALLS), rows.read(folder / BURSTS)
    facts = json.loads((folder / FACTS).read_text())
    (folder / "figures").mkdir(exist_ok=True)
    for name, text in drawn(sessions, bursts, facts).items():
        (folder / "figures" / name).write_text(text)
    page = folder / PAGE
    if page.exists():
        page.write_text(filled(page.read_text(), sections(sessions, bursts, facts)))


def filled(page: str, parts: dict[str, str]) -> str:
    """The page with each part in place of the text between its two markers."""
    for name, text in parts.items():
        begin, end = f"<!-- measured: {name} -->", "<!-- end -->"
        before, mark, rest = page.partition(begin)
        if mark:
            page = f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


def sections(
    sessions: Sequence[Row], bursts: Sequence[Row], facts: dict[str, Any]
) -> dict[str, str]:
    """The measured parts of the page as Markdown."""
    found = rows.cells(list(sessions))
    ends = burst_ends(sessions, bursts)
    return {
        "conditions": conditions(facts),
        "table": table(found),
        "bursts": burst_table(ends),
        "bars": bars(found, ends),
    }


def conditions(facts: dict[str, Any]) -> str:
    clients = facts["client_cpu_ms"].items()
    lines = {
        "date": facts["date"],
        "machine": facts["machine"] + (f"; load {facts['load']} before" if "load" in facts else ""),
        "model": f"{facts['model']}, as exported in float32; Triton runs each form on OpenVINO",
        "sessions": f"{facts['sessions']} of {facts['calls']} calls for each plan",
        "`Random`": f"each call after 0 to {facts['window_s']:g} s;"
        f" 20 s compressed by {facts['compression']:g}",
        "client's time-out": f"{facts['timeout_s']:g} s a request, the same for all",
        "client's processor time": ", ".join(f"{name} {ms:.1f} ms" for name, ms in clients)
        + " a call",
        "the whole run": f"{facts['minutes']:g} minutes"
        + (f"; {facts['note']}" if "note" in facts else ""),
    }
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {k} | {v} |" for k, v in lines.items())


def table(found: dict[tuple[str, int, str], Cell]) -> str:
    """The cookbook's table: mean and end, with the mean inside the handler beside it."""
    head = "| seconds |"
    for title in TITLES.values():
        head += f" {title}: mean | inside | end |"
    lines = [head + " accept, p95 |", "| --- |" + " ---: |" * (3 * len(TITLES) + 1)]
    for handler, replicas in dict.fromkeys(key[:2] for key in found):
        line = f"| {handler.capitalize()} x {replicas} |"
        for plan in TITLES:
            cell = found[handler, replicas, plan]
            line += f" {cell.mean_s:.3f} | {cell.inside_s:.3f} | {cell.end_s:.2f} |"
        lines.append(line + f" {found[handler, replicas, 'concurrency'].accept_p95_s:.3f} |")
    return "\n".join(lines)


def burst_ends(sessions: Sequence[Row], bursts: Sequence[Row]) -> list[tuple[str, Burst]]:
    """The ends of calls at once with the most replicas: of the sessions, and of the bursts."""
    most = max((row.replicas for row in sessions), default=0)
    at_once = [row for row in sessions if row.plan == "concurrency" and row.replicas == most]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in [*at_once, *bursts]:
        groups.setdefault((row.handler, row.plan), []).append(row)
    ends = [(handler, rows.burst(group)) for (handler, _), group in groups.items()]
    return sorted(ends, key=lambda end: (end[1].at_once, rows.HANDLERS.index(end[0])))


def burst_table(ends: Sequence[tuple[str, Burst]]) -> str:
    lines = [
        "| at once | handler | calls | answered | timed out | failed | the last end |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {end.at_once:,} | {handler.capitalize()} | {end.calls:,} | {end.answered:,}"
        f" | {end.timeouts:,} | {end.errors:,} | {end.last_s:.1f} s |"
        for handler, end in ends
    ]
    return "\n".join(lines)


def bars(found: dict[tuple[str, int, str], Cell], ends: Sequence[tuple[str, Burst]]) -> str:
    """The aims, and the numbers beside them."""
    at_once = {key[:2]: cell for key, cell in found.items() if key[2] == "concurrency"}
    queues = {key: cell for key, cell in at_once.items() if key[0] == "queue"}
    best = min((cell.end_s, key) for key, cell in at_once.items() if key[0] != "queue")
    name = f"{best[1][0].capitalize()} x {best[1][1]}"
    lines = ["| aim | measured | |", "| --- | --- | --- |"]
    for (_, replicas), cell in queues.items():
        who, ratio, p95 = f"Queue x {replicas}", cell.end_s / best[0], cell.accept_p95_s
        lines.append(
            f"| `Concurrency`: {who} ends at {BAR_END} of the best recipe, {name}"
            f" | {ratio:.2f} | {_met(ratio <= BAR_END)} |"
        )
        lines.append(
            f"| `Concurrency`: {who} accepts in {BAR_ACCEPT_S * 1000:.0f} ms, p95"
            f" | {p95 * 1000:.0f} ms | {_met(p95 <= BAR_ACCEPT_S)} |"
        )
    lost = sum(end.calls - end.answered for handler, end in ends if handler == "queue")
    lost += sum(cell.failed for key, cell in found.items() if key[0] == "queue")
    others = sum(end.calls - end.answered for handler, end in ends if handler != "queue")
    lines.append(f"| no call of the queue fails or times out | {lost} | {_met(lost == 0)} |")
    lines.append(f"| beside it: the recipes' calls at once without a result | {others:,} | |")
    return "\n".join(lines)


def _met(met: bool) -> str:
    return "met" if met else "missed"


def drawn(sessions: Sequence[Row], bursts: Sequence[Row], facts: dict[str, Any]) -> dict[str, str]:
    """The figures by file name. The same axes hold for plans whose calls overlap."""
    groups = {
        plan: [
            Group(handler, replicas, mine)
            for handler, replicas in rows.names(sessions)
            if (mine := _of(sessions, handler, replicas, plan))
        ]
        for plan in TITLES
    }
    together = figures.longest([*groups["concurrency"], *groups["random"]])
    ends = [end for plan in TITLES for group in groups[plan] for end in group.ends]
    made = {"bursts.svg": figures.bursts(burst_ends(sessions, bursts), facts["timeout_s"])}
    for plan, title in TITLES.items():
        limit = figures.longest(groups[plan]) if plan == "serial" else together
        made[f"each-{plan}.svg"] = figures.each(title, groups[plan], limit)
        made[f"total-{plan}.svg"] = figures.total(
            title, groups[plan], figures.ticks(max(ends) * 1.05)[-1]
        )
    return made


def _of(sessions: Sequence[Row], handler: str, replicas: int, plan: str) -> list[Row]:
    wanted = (handler, replicas, plan)
    return [row for row in sessions if (row.handler, row.replicas, row.plan) == wanted]
