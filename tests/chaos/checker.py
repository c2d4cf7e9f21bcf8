"""Reads a run's log and reports breaches. The checker knows promises and no code.

    lost          accepted, and later unknown
    stuck         accepted, and not seen terminal within the bound after the last fault
    changed       seen terminal in two ways: another status, time, result or reason
    revived       seen running after its end was seen or told
    uncanceled    the cancel was confirmed, and the prediction ended otherwise
    unasked       canceled before any client had asked for a cancel
    failed        failed or aborted, although the same case succeeds without faults; or failed for
                  another reason than the case's
    wrong         another result than without faults, or a result for a damaged image
    recreated     one id with two creation times
    mixed_up      one id for two payloads, one id given to two submissions, or a refusal of the same
                  payload
    malformed     an answer that contradicts itself, or that no client could expect
    fault         status 500, or an error that is no problem document
    unanswered    no answer, or 503, long after the last fault; a submission that was never
                  accepted; or predictions that could not be looked at in time
    down          a process of the stack does not run at the end
    left_over     a key is in Redis past its time

A single breach is one too many. `leftovers.py` says which keys may be left in Redis, and for how
long. `told.py` has the promises of webhooks, with its own kinds of breaches.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.history import RUNNING, TERMINAL, Exchange, Record, Run, first_end, sort
from tests.chaos.leftovers import left_over
from tests.chaos.outputs import difference
from tests.chaos.told import mistakes

EXPECTED = {
    "put": {202, 422, 429, 503},
    "post": {202, 429, 503},
    "get": {200, 404, 503},
    "cancel": {200, 404, 409, 503},
    "image": {200, 404, 409, 503},
}


@dataclass(frozen=True)
class Breach:
    kind: str
    id: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.kind:<11} {self.id or '-'}: {self.text}"


@dataclass
class Report:
    breaches: list[Breach] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    """The time from the last fault to the last end that a client saw."""


def check(records: Iterable[Record]) -> Report:
    """All breaches in a whole log, in the order of the rules."""
    records = list(records)
    run = sort(records)
    report = Report(counts=_counts(records, run))
    for rule in (_answers, _never_accepted, _identity, _histories, _endings, _images):
        report.breaches += rule(run)
    messages = [record for record in records if record["what"] == "told"]
    if records[0].get("webhooks"):
        ends = {
            name: end.state
            for name in run.accepted
            if (end := first_end(run.by_id[name])) and end.state
        }
        report.breaches += [Breach(*one) for one in mistakes(messages, ends)]
    report.counts["webhook messages"] = len(messages)
    report.breaches += [
        Breach(
            "unanswered",
            None,
            f"{record['count']} predictions without a last look after {record['within_s']:.0f} s",
        )
        for record in records
        if record["what"] == "unseen"
    ]
    for end in run.ends:
        report.breaches += [
            Breach("down", None, f"{part} was not running at the end")
            for part in end.get("down", ())
        ]
    for audit in (record for record in records if record["what"] == "audit"):
        doubtful = sum(1 for one in run.exchanges if one.op == "post" and one.status != 202)
        done = sum(
            1
            for record in records
            if record["what"] == "fault" and not record["text"].startswith("healed")
        )
        report.breaches += [
            Breach("left_over", None, text)
            for text in left_over(audit, set(run.by_id), doubtful, done)
        ]
    last = max(
        (e.answered for es in run.by_id.values() for e in [first_end(es)] if e), default=run.calm
    )
    report.slowest_s = max(0.0, last - run.calm)
    return report


def _answers(run: Run) -> Iterator[Breach]:
    """Rules about single answers."""
    late = run.calm + run.recovery_s
    accepted = run.accepted
    for exchange in run.exchanges:
        if exchange.asked > late and (exchange.status is None or exchange.status == 503):
            after = exchange.asked - run.calm
            yield Breach(
                "unanswered",
                exchange.id,
                f"{exchange.op} got {exchange.status or exchange.code},"
                f" {after:.0f} s after the last fault",
            )
        if exchange.status is None:
            continue
        if exchange.status == 500 or (exchange.status >= 400 and exchange.code is None):
            yield Breach(
                "fault",
                exchange.id,
                f"{exchange.op} was answered {exchange.status}"
                f" {exchange.code or 'without a problem document'}",
            )
        elif exchange.status not in EXPECTED[exchange.op]:
            gone = exchange.status == 410 and exchange.id in accepted
            yield Breach(
                "lost" if gone else "malformed",
                exchange.id,
                f"{exchange.op} was answered {exchange.status} {exchange.code}",
            )
        elif (
            exchange.status == 404
            and exchange.op != "image"
            and exchange.id in accepted
            and exchange.asked > (since := accepted[exchange.id].answered)
        ):
            yield Breach(
                "lost",
                exchange.id,
                f"{exchange.op} was answered 404 at {exchange.asked:.1f} s,"
                f" accepted at {since:.1f} s",
            )
        if exchange.prediction and (problem := _contradiction(exchange)):
            yield Breach("malformed", exchange.id, problem)


def _contradiction(exchange: Exchange) -> str | None:
    seen = exchange.prediction or {}
    if exchange.state not in TERMINAL | RUNNING:
        return f"unknown status {exchange.state!r}"
    if (seen.get("completed_at") is not None) != exchange.terminal:
        return f"{exchange.state} with completed_at {seen.get('completed_at')}"
    if (seen.get("output") is not None) != (exchange.state == "succeeded"):
        return f"{exchange.state} {'with' if seen.get('output') is not None else 'without'} output"
    if (seen.get("error_code") is not None) and exchange.state not in (
        "failed",
        "aborted",
        "canceled",
    ):
        return f"{exchange.state} with error code {seen['error_code']}"
    if seen.get("id") != exchange.id:
        return f"asked for {exchange.id}, answered with {seen.get('id')}"
    return None


def _never_accepted(run: Run) -> Iterator[Breach]:
    accepted = run.accepted
    for prediction_id, exchanges in run.by_id.items():
        if any(exchange.op == "put" for exchange in exchanges) and prediction_id not in accepted:
            last = max(exchanges, key=lambda exchange: exchange.answered)
            yield Breach(
                "unanswered",
                prediction_id,
                f"never accepted; the last answer was {last.status} {last.code}",
            )


def _identity(run: Run) -> Iterator[Breach]:
    """An id has one payload and one time of creation."""
    accepted = run.accepted
    for prediction_id, exchanges in run.by_id.items():
        created = {
            exchange.prediction["created_at"] for exchange in exchanges if exchange.prediction
        }
        if len(created) > 1:
            yield Breach(
                "recreated",
                prediction_id,
                f"created at {' and at '.join(sorted(map(str, created)))}",
            )
        if prediction_id not in accepted:
            continue
        owner = accepted[prediction_id].case
        if sum(1 for exchange in exchanges if exchange.op == "post") > 1:
            yield Breach("mixed_up", prediction_id, "given to two submissions")
        for exchange in exchanges:
            if exchange.op == "put" and exchange.status == 202 and exchange.case != owner:
                yield Breach(
                    "mixed_up",
                    prediction_id,
                    f"{exchange.case} was accepted under the id of {owner}",
                )
            if exchange.op == "put" and exchange.status == 422 and exchange.case == owner:
                yield Breach(
                    "mixed_up", prediction_id, f"the same payload was refused: {exchange.code}"
                )


def _histories(run: Run) -> Iterator[Breach]:
    """Every accepted prediction has one end within the bound, and never another."""
    for prediction_id, exchanges in run.by_id.items():
        end = first_end(exchanges)
        if prediction_id in run.accepted and (end is None or end.answered > run.calm + run.bound_s):
            last = max(
                (exchange for exchange in exchanges if exchange.prediction),
                key=lambda exchange: exchange.answered,
            )
            when = (
                "never" if end is None else f"{end.answered - run.calm:.0f} s after the last fault"
            )
            yield Breach(
                "stuck",
                prediction_id,
                f"{last.state} at {last.answered:.1f} s; seen terminal: {when}",
            )
        if end is None or end.prediction is None:
            continue
        for exchange in exchanges:
            if (
                exchange.terminal
                and exchange.prediction
                and (what := _differs(end.prediction, exchange.prediction))
            ):
                confirmed = any(x.op == "cancel" and x.status == 200 for x in exchanges)
                kind = "uncanceled" if confirmed and "status" in what else "changed"
                yield Breach(
                    kind,
                    prediction_id,
                    f"{what} between {end.answered:.1f} s and {exchange.answered:.1f} s",
                )
                break
        end_told = [
            exchange.answered
            for exchange in exchanges
            if exchange.terminal or (exchange.op == "cancel" and exchange.status == 409)
        ]
        for exchange in exchanges:
            if exchange.state in RUNNING and exchange.asked > min(end_told):
                yield Breach(
                    "revived",
                    prediction_id,
                    f"{exchange.state} at {exchange.asked:.1f} s,"
                    f" its end was told at {min(end_told):.1f} s",
                )
                break


def _differs(one: Record, other: Record) -> str | None:
    for name in ("status", "completed_at", "error_code", "output"):
        if one.get(name) != other.get(name):
            values = "" if name == "output" else f": {one.get(name)}, {other.get(name)}"
            return f"{name} differs{values}"
    return None


def _endings(run: Run) -> Iterator[Breach]:
    """Every prediction ends as its case must end."""
    accepted = run.accepted
    for prediction_id, exchanges in run.by_id.items():
        end = first_end(exchanges)
        if end is None or end.prediction is None or prediction_id not in accepted:
            continue
        case = run.cases[str(accepted[prediction_id].case)]
        cancels = [exchange for exchange in exchanges if exchange.op == "cancel"]
        if any(exchange.status == 200 and exchange.state != "canceled" for exchange in cancels):
            yield Breach(
                "uncanceled",
                prediction_id,
                "the cancel was confirmed with another status than canceled",
            )
        if end.state == "canceled":
            if not any(exchange.asked <= end.answered for exchange in cancels):
                yield Breach("unasked", prediction_id, "canceled, and nobody had asked for that")
        elif end.state in ("failed", "aborted"):
            code = end.prediction.get("error_code")
            if (end.state, code) != (case["ends"], case.get("code")):
                yield Breach(
                    "failed",
                    prediction_id,
                    f"{end.state} with {code}; {case['case']} must end {case['ends']}",
                )
        elif case["ends"] != "succeeded":
            yield Breach(
                "wrong", prediction_id, f"{case['case']} succeeded, and must end {case['ends']}"
            )
        elif what := difference(case.get("output"), end.prediction.get("output")):
            yield Breach("wrong", prediction_id, f"{case['case']}: {what}")


def _images(run: Run) -> Iterator[Breach]:
    accepted = run.accepted
    for exchange in run.exchanges:
        if exchange.op == "image" and exchange.status == 200 and exchange.id in accepted:
            expected = run.cases[str(accepted[exchange.id].case)].get("sha")
            if exchange.sha != expected:
                yield Breach(
                    "wrong", exchange.id, "the annotated image is another one than without faults"
                )
        elif exchange.op == "image" and exchange.status in (404, 409):
            yield Breach(
                "lost",
                exchange.id,
                f"the annotated image of what succeeded: {exchange.status} {exchange.code}",
            )


def _counts(records: Sequence[Record], run: Run) -> Counter[str]:
    counts: Counter[str] = Counter()
    for one in run.exchanges:
        counts[f"{one.op} {one.status or one.code}"] += 1
    ends = Counter(
        (first_end(run.by_id[prediction_id]) or run.by_id[prediction_id][0]).state or "?"
        for prediction_id in run.accepted
    )
    counts.update({f"ended {state}": count for state, count in ends.items()})
    counts["accepted"] = len(run.accepted)
    counts["asked"] = sum(1 for record in records if record["what"] == "ask")
    counts.update(
        f"fault {record['text'].split(':')[0]}" for record in records if record["what"] == "fault"
    )
    counts.update(f"restart {record['name']}" for record in records if record["what"] == "restart")
    keys = [key for record in records if record["what"] == "audit" for key in record["keys"]]
    counts["attempts beyond the first"] = sum(max(0, key.get("attempts", 0) - 1) for key in keys)
    return counts


def read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    found = check(read(Path(sys.argv[1])))
    sys.stdout.writelines(f"{line}\n" for line in [*found.breaches, *sorted(found.counts.items())])
    sys.exit(1 if found.breaches else 0)
