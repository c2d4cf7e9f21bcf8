"""Each handler of the cookbook's experiment answers, on real Triton and the real service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.common import free_port
from benchmarks.cookbook import experiment, models, rows, servers
from benchmarks.cookbook.servers import Target
from sluice.local.stack import Stack, StackConfig

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiment.picture(tmp_path_factory.mktemp("image") / "image.jpg")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all handlers."""
    repository = models.build(tmp_path_factory.mktemp("cookbook"))
    state = tmp_path_factory.mktemp("state")
    with Stack(StackConfig(state=state, models=repository, port=0, env=servers.QUEUE)) as stack:
        yield stack


def _check(target: Target, image: Path) -> None:
    for serial, count in ((True, 2), (False, 4)):
        answer = experiment.call(target, image, [0.0] * count, 60, serial=serial)
        made = rows.of_calls(target.handler, target.replicas, 1, "serial", answer["calls"])
        assert [(row.status, row.error) for row in made] == [("ok", "")] * count
        for row in made:
            assert row.accept_s is not None
            assert row.inside_s is not None
            assert 0 < row.accept_s <= row.result_s
            assert 0 < row.inside_s <= row.result_s
        starts = [row.start_s for row in made]
        assert (starts[-1] >= made[0].result_s) == serial
    assert answer["cpu_s"] > 0


@pytest.mark.parametrize("handler", experiment.RECIPES)
def test_a_recipe_answers_from_several_replicas(running: Stack, image: Path, handler: str) -> None:
    with servers.recipe(running, handler, 2) as target:
        _check(target, image)


def test_the_queue_answers(running: Stack, image: Path) -> None:
    _check(servers.queue_of(running, 1), image)


def test_a_handler_that_is_not_there_and_a_late_answer_are_told_apart(
    running: Stack, image: Path
) -> None:
    target = servers.queue_of(running, 1)
    nobody = Target("queue", 1, free_port(), "queue")
    (gone,) = experiment.call(nobody, image, [0.0], 60)["calls"]
    assert gone[4] == "error"
    assert "ConnectionRefusedError" in gone[5]
    (late,) = experiment.call(target, image, [0.0], 1e-4)["calls"]
    assert late[4:] == ["timeout", ""]
    unknown = Target("queue", 1, target.port, "unknown")
    (refused,) = experiment.call(unknown, image, [0.0], 60)["calls"]
    assert refused[4] == "error"
    assert "unknown_model" in refused[5]
