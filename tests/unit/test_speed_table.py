"""The arithmetic of the speed table and of its guard."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import guard
from benchmarks.guard import Known
from benchmarks.peers import command as peers
from benchmarks.speed import network, processes, table
from benchmarks.speed.redis_info import Cost
from benchmarks.speed.run import mean
from benchmarks.speed.table import Row, Spread

SPEED = Row("speed", "speed", table.over("per_s", "loop"), "1.05", rises=True, guarded=0.1)
CPU = Row("cpu", "cpu", table.plain("cpu_ms"), digits=1, guarded=0.1)


def test_spread_is_the_median_between_the_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.5]) == (2.5, 1.0, 3.0)
    assert Spread.of([3.0, 1.0, 2.5]).text(1) == "2.5 (1.0 to 3.0)"
    assert Spread.of([1234.4]).text(0) == "1,234"


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [({"per_s": 10.0}, {"loop": 20.0}), ({"per_s": 30.0}, {"loop": 20.0})]
    assert table.spreads(rounds, [SPEED, CPU]) == {"speed": (1.0, 0.5, 1.5)}


def test_baseline_is_the_mean_of_the_loop_before_and_after() -> None:
    assert mean({"loop": 20.0, "ms": 4.0}, {"loop": 30.0, "ms": 5.0}) == {"loop": 25.0, "ms": 4.5}


def test_table_leaves_out_rows_that_were_not_measured() -> None:
    spread = {"speed": Spread(1.0, 0.9, 1.1)}
    lines = table.printed({"before": {}, "this": spread}, [SPEED, CPU]).splitlines()
    assert lines[0] == "| row | before | this | to reach |"
    assert lines[2:] == ["| speed |  | 1.00 (0.90 to 1.10) | 1.05 |"]


def test_every_row_has_a_key_of_its_own() -> None:
    assert len({row.key for row in table.ROWS}) == len(table.ROWS)


def test_pss_adds_up_all_mappings() -> None:
    text = (
        "55 r-xp\nRss:  8 kB\nPss:   3 kB\nPss_Dirty: 9 kB\n56 rw-p\nPss:   4 kB\nSwapPss: 7 kB\n"
    )
    assert processes.pss_bytes(text) == 7 * 1024


def test_descendants_end_at_other_parts() -> None:
    parent_of = {2: 1, 3: 2, 4: 2, 5: 4, 6: 1}
    assert processes.descendants(2, parent_of) == {2, 3, 4, 5}
    assert processes.descendants(2, parent_of, stop=[4]) == {2, 3}


def test_cost_of_redis_is_a_difference_by_prediction() -> None:
    def read(main: float, evals: int, sets: int) -> Cost:
        cpu = {"used_cpu_sys_main_thread": main, "used_cpu_user_main_thread": 1.0}
        stats = {
            "cmdstat_evalsha": {"calls": evals, "usec": evals * 200},
            "cmdstat_set": {"calls": sets, "usec": sets},
            "db0": {"keys": 3},
        }
        return Cost.read(cpu, stats)

    per = (read(1.5, 40, 100) - read(1.0, 10, 20)).per(10)
    assert per == pytest.approx(
        {"main_ms": 50.0, "commands": 11.0, "scripts": 3.0, "script_us": 200.0}
    )
    assert read(1.0, 0, 1).per(1)["script_us"] == 0.0


def test_guard_names_what_fell_by_more_than_its_noise() -> None:
    known = {"speed": Known(1.0, 0.05), "cpu": Known(100.0, 5.0)}

    def fell(speed: float, cpu: float) -> list[str]:
        today = {"speed": Spread(speed, 0, 9), "cpu": Spread(cpu, 0, 999)}
        found = guard.compare(today, known, [SPEED, CPU])
        return [each.row.key for each in found if each.fell]

    assert fell(0.96, 104.0) == []
    assert fell(0.94, 90.0) == ["speed"]
    assert fell(1.30, 106.0) == ["cpu"]


def test_guard_prints_each_row_and_a_new_one_never_falls() -> None:
    today = {"speed": Spread(0.9, 0.9, 0.9), "cpu": Spread(80.0, 80, 80)}
    text = guard.printed(guard.compare(today, {"speed": Known(1.0, 0.05)}, [SPEED, CPU]))
    assert "| speed | 0.90 | 1.00 | 0.05 | FELL |" in text
    assert "| cpu | 80.0 |  |  | new |" in text
    assert text.endswith("- speed: worse by 10%")


def test_recorded_noise_is_the_spread_and_never_less_than_a_share() -> None:
    assert Known.of(SPEED, Spread(1.0, 0.9, 1.1)) == Known(1.0, 0.2)
    assert Known.of(SPEED, Spread(1.0, 1.0, 1.0)) == Known(1.0, 0.1)


def test_record_is_read_again(tmp_path: Path) -> None:
    row = next(row for row in table.ROWS if row.guarded)
    guard.write({row.key: Spread(2.0, 1.5, 2.5)}, tmp_path / "guard.json")
    assert guard.read(tmp_path / "guard.json") == {row.key: Known(2.0, 1.0)}
    assert guard.read(tmp_path / "none.json") == {}


def test_guard_ends_with_1_if_a_row_fell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def samples(mb: float) -> list[str]:
        file = tmp_path / "samples.json"
        file.write_text(json.dumps({"this": [[{"memory.rest_mb": mb}, {}]] * 3}))
        return ["--samples", str(file)]

    monkeypatch.setattr(guard, "FILE", tmp_path / "guard.json")
    guard.main([*samples(400.0), "--record"])
    guard.main(samples(410.0))
    assert "Nothing fell" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        guard.main(samples(500.0))
    assert ended.value.code == 1
    assert "memory (PSS) at rest, MB: worse by 25%" in capsys.readouterr().out


def test_committed_figures_belong_to_rows() -> None:
    if guard.FILE.exists():
        keys = {row.key for row in table.ROWS if row.guarded}
        assert set(json.loads(guard.FILE.read_text())) <= keys


def test_scores_are_set_so_that_some_rows_are_candidates() -> None:
    logits = np.random.default_rng(1).normal(3, 0.01, (5, 900)).astype(np.float32)
    factor, shift = network.settled(logits, 20)
    scores = 1 / (1 + np.exp(-(logits * factor[:, None] + shift[:, None])))
    assert (scores.max(0) > network.CONFIDENCE * 0.999).sum() == pytest.approx(20, abs=1)


def test_peers_are_compared_with_the_service_of_the_same_round() -> None:
    def sample(per_s: float) -> dict[str, float]:
        return {"ort.per_s": per_s}

    found = {
        "bare": [sample(10), sample(20)],
        peers.OURS: [sample(12), sample(20)],
        "other": [sample(8), sample(16)],
    }
    columns = peers.spreads_of(found)
    assert columns[peers.OURS] == {"speed": Spread(1.1, 1.0, 1.2)}
    assert columns["other"] == {"speed": Spread(0.8, 0.8, 0.8), "ours": Spread(1.375, 1.25, 1.5)}
