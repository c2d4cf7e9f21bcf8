"""The rows of the experiment: one for each call, their CSV, and what is worked out from them."""

import csv
import gzip
import io
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

PLANS = ("serial", "concurrency", "random")
HANDLERS = ("sync", "async", "ensemble", "queue")


@dataclass(frozen=True)
class Row:
    """One call. Seconds are those of the client's clock, but for `inside_s`."""

    handler: str
    """One of HANDLERS."""
    replicas: int
    """The processes of the handler, or the workers of the queue."""
    session: int
    """From 1."""
    plan: str
    """One of PLANS, or `burst-` and the number of calls at once."""
    call: int
    """From 1."""
    start_s: float
    """From the session's start to the call's."""
    accept_s: float | None
    """From the call's start to the first answer. A recipe's first answer is its result."""
    result_s: float
    """From the call's start to its result or its failure."""
    inside_s: float | None
    """The seconds that the handler itself counted."""
    status: str
    """`ok`, `timeout` or `error`."""
    error: str = ""


COLUMNS = [field.name for field in fields(Row)]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV; with the suffix `.gz`, packed. The same rows give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read(path: Path) -> list[Row]:
    """Read what `write` wrote."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [_row(values) for values in csv.DictReader(io.StringIO(text))]


def _row(values: dict[str, str]) -> Row:
    def seconds(name: str) -> float | None:
        return float(values[name]) if values[name] else None

    return Row(
        handler=values["handler"],
        replicas=int(values["replicas"]),
        session=int(values["session"]),
        plan=values["plan"],
        call=int(values["call"]),
        start_s=float(values["start_s"]),
        accept_s=seconds("accept_s"),
        result_s=float(values["result_s"]),
        inside_s=seconds("inside_s"),
        status=values["status"],
        error=values["error"],
    )


def of_calls(
    handler: str, replicas: int, session: int, plan: str, calls: Iterable[list[Any]]
) -> list[Row]:
    """The rows of one session from the client's lists."""
    return [Row(handler, replicas, session, plan, n, *call) for n, call in enumerate(calls, 1)]


@dataclass(frozen=True)
class Cell:
    """One plan of one handler, over all its sessions. Failed calls count in `ends` and `failed`."""

    mean_s: float
    """The mean of the calls' seconds at the client."""
    inside_s: float
    """The mean of the seconds inside the handler."""
    accept_p95_s: float
    """The 95th percentile of the seconds to the first answer."""
    ends_s: tuple[float, ...]
    """The seconds from the start to the last call's end, of each session."""
    calls: int
    failed: int

    @property
    def end_s(self) -> float:
        """The mean of the sessions' ends, as the cookbook has it."""
        return statistics.fmean(self.ends_s)


def cell(rows: list[Row]) -> Cell:
    """Work out one cell. Raises StatisticsError if no call succeeded."""
    good = [row for row in rows if row.status == "ok"]
    accepted = sorted(row.accept_s for row in good if row.accept_s is not None)
    return Cell(
        mean_s=statistics.fmean(row.result_s for row in good),
        inside_s=statistics.fmean(row.inside_s for row in good if row.inside_s is not None),
        accept_p95_s=percentile(accepted, 0.95),
        ends_s=tuple(
            max(row.start_s + row.result_s for row in rows if row.session == session)
            for session in sorted({row.session for row in rows})
        ),
        calls=len(rows),
        failed=len(rows) - len(good),
    )


def percentile(ordered: list[float], share: float) -> float:
    """The least value that at least `share` of the ordered values do not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def cells(rows: list[Row]) -> dict[tuple[str, int, str], Cell]:
    """The cells by handler, replicas and plan, in the order of the tables."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.handler, row.replicas, row.plan), []).append(row)
    return {key: cell(groups[key]) for key in sorted(groups, key=_order)}


def _order(key: tuple[str, int, str]) -> tuple[int, int, str]:
    return HANDLERS.index(key[0]), key[1], key[2]


@dataclass(frozen=True)
class Burst:
    """Calls that began at once."""

    at_once: int
    calls: int
    """The calls of all sessions."""
    answered: int
    timeouts: int
    errors: int
    last_s: float
    """The end of the last call, or of the client's patience."""
    reason: str
    """The most frequent error."""


def burst(rows: list[Row]) -> Burst:
    """Count the ends of calls."""
    statuses = [row.status for row in rows]
    errors = [row.error for row in rows if row.status == "error"]
    return Burst(
        at_once=len(rows) // len({row.session for row in rows}),
        calls=len(rows),
        answered=statuses.count("ok"),
        timeouts=statuses.count("timeout"),
        errors=len(errors),
        last_s=max(row.start_s + row.result_s for row in rows),
        reason=statistics.mode(errors) if errors else "",
    )


def names(rows: Iterable[Row]) -> Iterator[tuple[str, int]]:
    """The handlers with their replicas, in the order of the tables."""
    found = {(row.handler, row.replicas) for row in rows}
    yield from sorted(found, key=lambda key: (HANDLERS.index(key[0]), key[1]))
