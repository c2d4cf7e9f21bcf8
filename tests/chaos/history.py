"""A run's log, sorted into the exchanges that the checker's rules ask for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TERMINAL = {"succeeded", "failed", "canceled", "aborted"}
RUNNING = {"starting", "processing"}

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    op: str
    id: str | None
    case: str | None
    asked: float
    """The time of the request, in seconds since the log began."""
    answered: float
    status: int | None
    """None where there was no answer."""
    code: str | None
    prediction: Record | None
    sha: str | None

    @property
    def state(self) -> str | None:
        return self.prediction["status"] if self.prediction else None

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL


@dataclass
class Run:
    """The log of one run."""

    exchanges: list[Exchange]
    by_id: dict[str, list[Exchange]]
    cases: dict[str, Record]
    calm: float
    bound_s: float
    recovery_s: float
    ends: list[Record]

    @property
    def accepted(self) -> dict[str, Exchange]:
        """The first exchange that accepted each prediction, by id."""
        first: dict[str, Exchange] = {}
        for exchange in sorted(self.exchanges, key=lambda one: one.answered):
            if exchange.op in ("put", "post") and exchange.status == 202 and exchange.id:
                first.setdefault(exchange.id, exchange)
        return first


def sort(records: Sequence[Record]) -> Run:
    """The run that the records describe."""
    start = next(record for record in records if record["what"] == "start")
    calm = next((record["t"] for record in records if record["what"] == "calm"), float("inf"))
    asks = {record["n"]: record for record in records if record["what"] == "ask"}
    exchanges = []
    for record in records:
        if record["what"] not in ("answer", "silence"):
            continue
        ask = asks[record["n"]]
        prediction = record.get("prediction")
        exchanges.append(
            Exchange(
                op=ask["op"],
                id=ask.get("id") or (prediction or {}).get("id"),
                case=ask.get("case"),
                asked=ask["t"],
                answered=record["t"],
                status=record.get("status"),
                code=record.get("code") if record["what"] == "answer" else record["error"],
                prediction=prediction,
                sha=record.get("sha"),
            )
        )
    by_id: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        if exchange.id:
            by_id[exchange.id].append(exchange)
    return Run(
        exchanges,
        by_id,
        cases={record["case"]: record for record in records if record["what"] == "case"},
        calm=calm,
        bound_s=start["bound_s"],
        recovery_s=start["recovery_s"],
        ends=[record for record in records if record["what"] == "end"],
    )


def first_end(exchanges: Iterable[Exchange]) -> Exchange | None:
    """The first exchange that showed a terminal status."""
    return min(
        (one for one in exchanges if one.terminal), key=lambda one: one.answered, default=None
    )
