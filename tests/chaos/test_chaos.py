"""The chaos harness for a minute on a live stack, and its parts without one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import clients, faults
from tests.chaos.bugs import BUGS, copy, plant
from tests.chaos.cases import cases
from tests.support.paths import ROOT

SECONDS, SEED = 60, 7


@pytest.mark.integration
def test_a_minute_of_chaos_has_no_breach(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--seconds",
        str(SECONDS),
        "--seed",
        str(SEED),
        "--every",
        "3",
    ]
    with (tmp_path / "output").open("w") as output:
        done = subprocess.run(
            [*command, "--workdir", str(tmp_path)],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            timeout=400,
            check=False,
        )
    assert done.returncode == 0, (tmp_path / "output").read_text()


def test_equal_seeds_draw_equal_plans_and_faults() -> None:
    assert faults.draw(3, 300, 4) == faults.draw(3, 300, 4) != faults.draw(4, 300, 4)
    assert (
        clients.draw(3, 60, 6, cases())
        == clients.draw(3, 60, 6, cases())
        != clients.draw(4, 60, 6, cases())
    )
    assert cases() == cases()


def test_every_kind_of_fault_is_drawn_and_ends_in_time() -> None:
    drawn = faults.draw(1, 300, 4)
    assert {(fault.kind, fault.target) for fault in drawn} == {
        card for card in faults.DECK if card[0] not in ("ambush", "outage")
    } | {("down", "redis")}
    assert all(fault.at_s + fault.lasts_s <= 300.01 for fault in drawn)


def test_the_drawn_plans_contain_every_kind_of_request() -> None:
    drawn = clients.draw(1, 300, 6, cases())
    assert {plan.case for plan in drawn} == {case.name for case in cases()}
    for does in ("give_up_s", "twin", "cancel_after_s", "other_case", "again_after_s", "wait_s"):
        assert sum(1 for plan in drawn if getattr(plan, does)) > 50, does
    assert any(plan.id is None for plan in drawn)
    assert any(plan.cancel_after_s == 0 for plan in drawn)


def test_all_ten_bugs_still_fit_the_code(tmp_path: Path) -> None:
    """`python -m tests.chaos.bugs` runs the harness on each bug."""
    assert len({bug.name for bug in BUGS}) == 10
    copy(tmp_path)
    for bug in BUGS:
        plant(bug, tmp_path)
        for edit in bug.edits:
            if edit.file.endswith(".py"):
                ast.parse((tmp_path / edit.file).read_text(), edit.file)
