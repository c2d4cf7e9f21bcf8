"""The arithmetic of large services, and the page that shows its table."""

import pytest

from benchmarks.scale import FULL, RATES, Costs, plan, table
from tests.support.paths import ROOT

COSTS = Costs(
    api_ms=3,
    worker_ms=6,
    redis_ms=1.2,
    image_bytes=100_000,
    tensor_bytes=500_000,
    answer_bytes=1_000,
    record_bytes=2_000,
    wait_s=60,
)


def test_each_part_follows_from_its_cost() -> None:
    one = plan(1_000, COSTS, gpu_per_s=500)
    assert one.api_cores == pytest.approx(3 / FULL)
    assert one.worker_cores == pytest.approx(6 / FULL)
    assert one.queues == 2
    assert one.gpus == 4
    assert one.network_gbit_s == pytest.approx(802_000 * 8 / 1e6)
    assert one.images_gb == pytest.approx(6)
    assert one.records_gb == pytest.approx(172.8)


def test_the_page_shows_the_table_of_today() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert table([plan(rate) for rate in RATES]) in page
