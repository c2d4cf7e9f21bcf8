"""Failovers under load, on a live stack with Sentinels; the full run is `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.failovers import KINDS, Failovers

pytestmark = pytest.mark.integration


def test_no_accepted_prediction_is_lost_in_a_failover_of_each_kind(tmp_path: Path) -> None:
    said: list[str] = []
    run = Failovers(tmp_path, count=len(KINDS), min_replicas=1, say=said.append)
    report = run.run()
    assert report.lost == {}, said
    assert len(report.works_after_s) == len(KINDS), said
    assert len(report.accepted) > 50
