"""When a model counts as hanging, by looks at Triton's metrics."""

from collections.abc import Iterator, Mapping

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import hangs
from sluice.local.servers.hangs import LOOKS, Counts, HangWatch, Progress, counts
from sluice.settings import TritonSettings

CODES = ("codes", "1")
METRICS = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="codes",version="1"} 12
nv_inference_request_success{model="other",version="2"} 3
nv_inference_request_failure{model="codes",reason="OTHER",version="1"} 0
nv_inference_request_failure{model="codes",reason="BACKEND",version="1"} 4
nv_inference_request_failure{model="codes",reason="CANCELED",version="1"} 100
nv_inference_request_failure{model="codes",reason="REJECTED",version="1"} 200
nv_inference_exec_count{model="codes",version="1"} 9
nv_inference_pending_request_count{model="codes",version="1"} 5
nv_inference_pending_request_count{model="other",version="2"} 0
"""


def hanging(*looks: tuple[float, float]) -> bool:
    """True if the model counts as hanging after these looks: (waiting, answered)."""
    progress = Progress()
    result: list[tuple[str, str]] = []
    for look in looks:
        result = progress.hanging({CODES: Counts(*look)})
    return bool(result)


def test_only_answers_of_the_model_count_as_progress() -> None:
    """Requests that Triton drops by itself say nothing of the model."""
    assert counts(METRICS) == {CODES: Counts(5, 16), ("other", "2"): Counts(0, 3)}


def test_counts_of_several_devices_are_added() -> None:
    text = (
        'nv_inference_request_success{gpu_uuid="a",model="m",version="1"} 1\n'
        'nv_inference_request_success{gpu_uuid="b",model="m",version="1"} 2\n'
        'nv_inference_pending_request_count{model="m",version="1"} 3\n'
    )
    assert counts(text) == {("m", "1"): Counts(3, 3)}


def test_a_model_hangs_once_requests_have_waited_for_all_looks() -> None:
    assert not hanging((0, 7), (1, 7), *[(1, 7)] * (LOOKS - 1))
    assert hanging((0, 7), (1, 7), *[(1, 7)] * LOOKS)
    assert hanging((0, 7), *[(waiting, 7) for waiting in range(1, LOOKS + 2)])


def test_a_long_queue_that_makes_progress_does_not_hang() -> None:
    assert not hanging((0, 0), *[(1000 + look, look // 3) for look in range(10 * LOOKS)])


def test_progress_begins_the_wait_again() -> None:
    stalled = [(2, 7)] * LOOKS
    assert not hanging((0, 7), *stalled, (2, 8), *[(3, 8)] * LOOKS)
    assert hanging((0, 7), *stalled, (2, 8), *[(3, 8)] * (LOOKS + 1))


def test_an_empty_queue_begins_the_wait_again() -> None:
    """Triton may have dropped the requests, and the next ones get their whole time."""
    assert not hanging((0, 7), *[(1, 7)] * LOOKS, (0, 7), *[(1, 7)] * LOOKS)


def test_requests_that_waited_before_are_not_believed_without_a_new_one() -> None:
    """A Triton that miscounts while nothing runs must not be restarted for ever."""
    assert not hanging(*[(3, 7)] * (5 * LOOKS))
    assert hanging(*[(3, 7)] * 5, *[(4, 7)] * (LOOKS + 1))


def test_one_model_hangs_beside_another() -> None:
    progress = Progress()
    for look in range(LOOKS + 2):
        both = {CODES: Counts(look, 0), ("other", "1"): Counts(look, look)}
        result = progress.hanging(both)
    assert result == [CODES]


class World:
    """A Triton's metrics, and a clock."""

    def __init__(self, after_s: float = 60) -> None:
        self.now = 1000.0
        self.waiting = 0
        self.reads = 0
        self.answers = True
        self.watch = HangWatch(after_s, self._read, lambda: self.now)

    def _read(self) -> str | None:
        self.reads += 1
        line = 'nv_inference_pending_request_count{model="codes",version="1"}'
        return f"{line} {self.waiting}\n" if self.answers else None

    def seconds(self, count: int, pid: int = 1) -> Iterator[str | None]:
        """The trouble at each of the next seconds."""
        for _ in range(count):
            self.now += 1
            yield self.watch.trouble(pid)


def test_the_trouble_names_the_model_and_stays_between_two_looks() -> None:
    world = World()
    assert not any(world.seconds(10))
    world.waiting = 1
    assert not any(world.seconds(60))
    troubles = list(world.seconds(20))
    assert troubles[-1] is not None
    assert "hangs (codes)" in troubles[-1]
    assert "60 s" in troubles[-1]
    assert "sluice models rollback" in troubles[-1]
    assert troubles[-1] == troubles[-2]
    assert world.reads == 9, "one look in ten seconds"


def test_a_machine_that_slept_for_a_day_gets_one_look_for_it() -> None:
    world = World()
    assert not any(world.seconds(10))
    world.waiting = 1
    assert not any(world.seconds(10))
    world.now += 24 * 3600
    assert not any(world.seconds(30))


def test_no_model_is_judged_while_the_server_does_not_answer() -> None:
    world = World()
    assert not any(world.seconds(10))
    world.waiting = 1
    assert not any(world.seconds(10))
    world.answers = False
    assert not any(world.seconds(40))
    world.answers = True
    assert not any(world.seconds(30))


def test_a_server_stands_still_after_looks_in_a_row_without_an_answer() -> None:
    world = World()
    assert not any(world.seconds(10))
    for _ in range(3):
        world.answers = False
        assert not any(world.seconds(50))
        world.answers = True
        assert not any(world.seconds(10))
    world.answers = False
    troubles = list(world.seconds(70))
    assert troubles[-1] == troubles[-2] == "stands still: no answer came for 60 s"
    world.answers = True
    assert not any(world.seconds(10, pid=2))


def test_the_next_server_is_judged_by_itself() -> None:
    world = World()
    assert not any(world.seconds(10))
    world.waiting = 1
    assert any(world.seconds(80))
    assert not any(world.seconds(600, pid=2)), "nothing came to wait since its start"


def test_zero_watches_nothing() -> None:
    world = World(after_s=0)
    world.waiting = 1
    assert not any(world.seconds(1000))
    assert not world.reads


@pytest.mark.parametrize(
    ("environment", "after_s"),
    [
        ({}, 60),
        ({"SLUICE_TRITON_STUCK_AFTER_S": ""}, 60),
        ({"SLUICE_TRITON_STUCK_AFTER_S": "90.5"}, 90.5),
        ({"SLUICE_TRITON_STUCK_AFTER_S": "0"}, 0),
        ({"SLUICE_TRITON_TIMEOUT_S": "100"}, 200),
        ({"SLUICE_TRITON_TIMEOUT_S": "100", "SLUICE_TRITON_STUCK_AFTER_S": "0"}, 0),
    ],
)
def test_the_time_comes_from_the_environment(
    environment: Mapping[str, str], after_s: float
) -> None:
    assert hangs.stuck_after_s(environment) == after_s


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_wrong_time_is_named(text: str) -> None:
    with pytest.raises(LocalStackError, match="SLUICE_TRITON_STUCK_AFTER_S"):
        hangs.stuck_after_s({"SLUICE_TRITON_STUCK_AFTER_S": text})


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = TritonSettings()
    assert (settings.stuck_after_s, settings.timeout_s) == (hangs.STUCK_AFTER_S, hangs.TIMEOUT_S)
