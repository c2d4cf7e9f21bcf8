"""The checker on logs made by hand: a good one, and one for each breach."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import checker
from tests.chaos.checker import check
from tests.chaos.scripts import BOUND_S, CALM, OUTPUT, RECOVERY_S, Script, audit, key, seen, told


@pytest.mark.parametrize(
    ("messages", "kinds"),
    [
        ([told("a", "start", "processing"), told("a", taken=False), told("a")], []),
        ([told("a", "start", "processing"), told("b")], ["untold"]),
        ([told("a", taken=False)], ["untold"]),
        ([told("a", status="failed")], ["mistold"]),
        ([told("a"), told("a", message="another")], ["mistold"]),
        ([told("a"), told("a", sha="another")], ["mistold"]),
        ([told("a"), told("a", "start", "processing")], ["mistold"]),
        ([told("a", genuine=False), told("a")], ["forged"]),
    ],
)
def test_the_webhooks_breaches_are_found(messages: list[dict[str, Any]], kinds: list[str]) -> None:
    script = Script()
    script.records[0]["webhooks"] = True
    assert [breach.kind for breach in check([*script.records, *messages]).breaches] == kinds


def test_a_good_run_has_no_breach() -> None:
    script = Script()
    script.say(10.0, "put", "b", case="good", error="ReadTimeout")  # and a second try
    script.say(11.0, "put", "b", case="good", status=503, code="redis_unavailable")
    script.put("b", 12.0)
    script.say(13.0, "put", "b", case="other", status=422, code="id_reused")
    script.get("b", 14.0, "starting", took=20.0)  # the answer comes after the end was told
    script.get("b", 15.0, "processing")
    script.get("b", 16.0, "starting")  # after its worker's death
    script.get("b", 17.0, "succeeded")
    script.say(18.0, "cancel", "b", status=409, code="conflict")
    script.say(19.0, "image", "b", status=200, sha="abc")
    script.put("c", 20.0, case="bad")
    script.get("c", 22.0, "failed")
    script.put("d", 23.0)
    script.cancel("d", 24.0)
    script.put("d", 26.0, "canceled")  # a repeated submission is answered with the current status
    script.put("e", 27.0)
    script.say(28.0, "cancel", "e", error="ReadError")  # done all the same
    script.get("e", 30.0, "canceled")
    script.say(
        31.0,
        "post",
        None,
        case="good",
        status=202,
        prediction=seen("named-by-the-service", "starting"),
    )
    script.get("named-by-the-service", 33.0, "succeeded")
    script.records += [audit(), {"what": "end", "t": 170.0, "down": []}]
    report = check(script.records)
    assert report.breaches == []
    assert report.counts["accepted"] == 6
    assert report.counts["ended canceled"] == 2


def lost_by_404(s: Script) -> None:
    s.say(9.0, "get", "a", status=404, code="not_found")


def lost_by_410(s: Script) -> None:
    s.say(9.0, "get", "a", status=410, code="gone")


def stuck_for_ever(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 170.0, "processing")


def stuck_beyond_the_bound(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", CALM + BOUND_S + 1, "succeeded")


def changed_status(s: Script) -> None:
    s.get("a", 165.0, "failed")


def changed_output(s: Script) -> None:
    s.get("a", 165.0, "succeeded", output={**OUTPUT, "predictions": []})


def changed_time(s: Script) -> None:
    s.get("a", 165.0, "succeeded", completed_at="2026-01-01T00:00:06Z")


def revived(s: Script) -> None:
    s.get("a", 165.0, "starting")


def revived_after_409(s: Script) -> None:
    s.put("b", 10.0)
    s.cancel("b", 12.0, 409)
    s.get("b", 14.0, "processing")
    s.get("b", 16.0, "succeeded")


def uncanceled(s: Script) -> None:
    s.put("b", 10.0)
    s.cancel("b", 12.0)
    s.get("b", 14.0, "succeeded")


def uncanceled_at_once(s: Script) -> None:
    s.put("b", 10.0)
    s.cancel("b", 12.0, state="processing")
    s.get("b", 14.0, "succeeded")


def unasked(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 12.0, "canceled")
    s.cancel("b", 14.0, 409)


def failed(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 12.0, "failed", error_code="worker_lost")


def failed_for_another_reason(s: Script) -> None:
    s.put("b", 10.0, case="bad")
    s.get("b", 12.0, "failed", error_code="image_expired")


def aborted(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 12.0, "aborted")


def wrong_output(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 12.0, "succeeded", output={**OUTPUT, "predictions": [{"x": 1.6, "confidence": 0.5}]})


def wrong_as_it_must_fail(s: Script) -> None:
    s.put("b", 10.0, case="bad")
    s.get("b", 12.0, "succeeded")


def wrong_image(s: Script) -> None:
    s.say(12.0, "image", "a", status=200, sha="def")


def recreated(s: Script) -> None:
    s.get("a", 165.0, "succeeded", created_at="2026-01-01T00:00:03Z")


def mixed_up_payloads(s: Script) -> None:
    s.put("a", 10.0, "succeeded", case="other")


def mixed_up_by_a_refusal(s: Script) -> None:
    s.say(10.0, "put", "a", case="good", status=422, code="id_reused")


def mixed_up_ids(s: Script) -> None:
    for t in (10.0, 12.0):
        s.say(t, "post", None, case="good", status=202, prediction=seen("same", "starting"))
    s.get("same", 14.0, "succeeded")


def malformed_without_time(s: Script) -> None:
    s.put("b", 10.0)
    s.get("b", 12.0, "succeeded", completed_at=None)


def malformed_with_output(s: Script) -> None:
    s.put("b", 10.0, case="bad")
    s.get("b", 12.0, "failed", error_code="not_an_image", output=OUTPUT)


def malformed_status(s: Script) -> None:
    s.get("a", 5.0, "queued")


def malformed_answer(s: Script) -> None:
    s.say(10.0, "get", "a", status=405, code="method_not_allowed")


def fault(s: Script) -> None:
    s.say(10.0, "get", "a", status=500, code="internal")


def fault_without_a_problem(s: Script) -> None:
    s.say(10.0, "get", "a", status=503)


def unanswered(s: Script) -> None:
    s.say(CALM + RECOVERY_S + 1, "get", "a", error="ReadTimeout")


def unanswered_with_503(s: Script) -> None:
    s.say(CALM + RECOVERY_S + 1, "get", "a", status=503, code="redis_unavailable")


def unanswered_for_ever(s: Script) -> None:
    s.say(10.0, "put", "b", case="good", error="ReadTimeout")


def unanswered_at_the_last_look(s: Script) -> None:
    s.records.append({"what": "unseen", "t": 170.0, "count": 3, "within_s": BOUND_S})


def down(s: Script) -> None:
    s.records.append({"what": "end", "t": 170.0, "down": ["worker-2"]})


def left_over_in_redis(s: Script) -> None:
    s.records.append(audit(key("{default}:live")))


BREACHES: list[tuple[str, Callable[[Script], None]]] = [
    ("lost", lost_by_404),
    ("lost", lost_by_410),
    ("stuck", stuck_for_ever),
    ("stuck", stuck_beyond_the_bound),
    ("changed", changed_status),
    ("changed", changed_output),
    ("changed", changed_time),
    ("revived", revived),
    ("revived", revived_after_409),
    ("uncanceled", uncanceled),
    ("uncanceled", uncanceled_at_once),
    ("unasked", unasked),
    ("failed", failed),
    ("failed", failed_for_another_reason),
    ("failed", aborted),
    ("wrong", wrong_output),
    ("wrong", wrong_as_it_must_fail),
    ("wrong", wrong_image),
    ("recreated", recreated),
    ("mixed_up", mixed_up_payloads),
    ("mixed_up", mixed_up_by_a_refusal),
    ("mixed_up", mixed_up_ids),
    ("malformed", malformed_without_time),
    ("malformed", malformed_with_output),
    ("malformed", malformed_status),
    ("malformed", malformed_answer),
    ("fault", fault),
    ("fault", fault_without_a_problem),
    ("unanswered", unanswered),
    ("unanswered", unanswered_with_503),
    ("unanswered", unanswered_for_ever),
    ("unanswered", unanswered_at_the_last_look),
    ("down", down),
    ("left_over", left_over_in_redis),
]


@pytest.mark.parametrize(
    ("kind", "break_it"), BREACHES, ids=[break_it.__name__ for _, break_it in BREACHES]
)
def test_the_checker_finds_each_breach(kind: str, break_it: Callable[[Script], None]) -> None:
    script = Script()
    break_it(script)
    kinds = {breach.kind for breach in check(script.records).breaches}
    assert kind in kinds
    assert kinds <= {kind, "changed"}, "no other kind, except that another end is also a change"


def test_every_kind_of_breach_is_tried_and_documented() -> None:
    kinds = {kind for kind, _ in BREACHES}
    assert checker.__doc__ is not None
    assert kinds == {
        line.split()[0]
        for line in checker.__doc__.splitlines()
        if line.startswith("    ") and line[4] != " "
    }


def test_the_checker_imports_nothing_of_the_service() -> None:
    import ast
    from pathlib import Path

    for module in ("checker", "history", "leftovers", "outputs", "told"):
        tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text())
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not {name for name in names if name.split(".")[0] in ("sluice", "api", "worker")}
