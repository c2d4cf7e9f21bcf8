"""The simulation of KEDA and the HPA agrees with the record of a real control plane."""

import math
from dataclasses import replace

import pytest

from benchmarks.autoscaling import recorded
from benchmarks.autoscaling.compare import POD, Row, chosen, scaling_of
from benchmarks.autoscaling.controllers import Hpa, Keda, Policy, Rules, Scaling
from benchmarks.autoscaling.simulation import Outcome, Pod, fixed, scaled

SCALING = Scaling.from_manifest()


def test_recorded_times_are_within_five_seconds_of_the_simulated_range() -> None:
    for row in recorded.rows(phases=8):
        least, most = row.simulated_s
        assert least - 5 <= row.recorded_s <= most + 5, row


def test_a_fixed_pod_works_off_its_queue_in_order() -> None:
    outcome = fixed([0.0, 0.0, 0.0, 10.0], Pod(rate_per_s=1.0, slots=1), 1, end_s=3600.0)
    assert outcome.waits_s == [0.0, 1.0, 2.0, 0.0]
    assert outcome.ends_s == [1.0, 2.0, 3.0, 1.0]
    assert outcome.pod_hours == 1.0
    assert outcome.wait_at(0.5) == 0.0
    assert outcome.wait_at(1.0) == 2.0


def test_a_first_prediction_waits_for_a_look_and_a_pods_start() -> None:
    pod = Pod(rate_per_s=10.0, start_s=3.0)
    outcome = scaled([1.0], pod, SCALING, end_s=10.0)
    # KEDA looks at 5 s, and the pod claims at 8 s.
    assert outcome.waits_s == [7.0]


def test_the_last_pod_ends_one_cooldown_after_the_last_recent_submission() -> None:
    outcome = scaled([1.0], Pod(rate_per_s=10.0), SCALING, end_s=900.0)
    held_s = SCALING.recent_s + SCALING.cooldown_s
    assert held_s <= outcome.reached(0, after_s=1.0) <= held_s + 2 * SCALING.polling_s


def test_a_pod_that_is_stopped_ends_what_it_runs() -> None:
    never = replace(SCALING, recent_s=0.0, cooldown_s=0.0, polling_s=1.0)
    outcome = scaled([0.5] * 3, Pod(rate_per_s=0.5, slots=1, start_s=0.0), never, end_s=30.0)
    assert len(outcome.ends_s) == 3
    assert outcome.pods[-1][1] == 0


@pytest.mark.parametrize(
    ("policy", "pods", "sign", "limit"),
    [
        (Policy("Percent", 25, 60), 15, -1, 11),
        (Policy("Percent", 25, 60), 11, -1, 8),
        (Policy("Percent", 50, 60), 3, 1, 5),
        (Policy("Pods", 4, 15), 1, 1, 5),
        (Policy("Pods", 1, 60), 3, -1, 2),
    ],
)
def test_percentages_are_rounded_as_the_hpa_rounds_them(
    policy: Policy, pods: int, sign: int, limit: int
) -> None:
    assert policy.limit(pods, sign) == limit


def test_the_hpa_changes_nothing_within_its_tolerance() -> None:
    hpa = Hpa(replace(SCALING, list_length=10))
    assert hpa.decide(0.0, 10, 109, 0) == 10
    assert hpa.decide(15.0, 10, 111, 0) == 12


def test_the_hpa_keeps_the_highest_wish_of_its_window() -> None:
    hpa = Hpa(replace(SCALING, list_length=10, down=Rules(60.0)))
    assert hpa.decide(0.0, 5, 50, 0) == 5
    assert hpa.decide(60.0, 5, 0, 0) == 5
    assert hpa.decide(61.0, 5, 0, 0) == 1


def test_keda_leaves_a_least_number_of_pods_alone() -> None:
    keda = Keda(replace(SCALING, min_pods=2, cooldown_s=0.0))
    assert keda.decide(100.0, 2, active=False) == 2


def test_the_choice_has_the_fewest_pod_hours_of_those_that_meet_the_bar() -> None:
    def row(name: str, wait_s: float, pods: int) -> Row:
        return Row(name, Outcome([wait_s], [wait_s], [(0.0, pods)], 3600.0))

    rows = [row("slow", 99.0, 1), row("good", 5.0, 3), row("dear", 0.1, 9)]
    assert chosen(rows).name == "good"
    assert chosen(rows[:1]).name == "slow"


def test_a_list_length_is_seconds_of_a_pods_work() -> None:
    assert scaling_of(POD, 2.0).list_length == math.ceil(2.0 * POD.rate_per_s)
