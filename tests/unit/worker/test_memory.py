"""The budget lets in what fits, in turn."""

import threading

from PIL import Image

from sluice.images import inspect
from tests.support.image_files import save
from worker.decode import decode
from worker.memory import MemoryBudget


def test_what_fits_runs_side_by_side() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(60), budget.reserve(40):
        pass


def test_what_does_not_fit_waits_until_something_ends() -> None:
    budget = MemoryBudget(100)
    entered = threading.Event()

    def enter() -> None:
        with budget.reserve(50):
            entered.set()

    thread = threading.Thread(target=enter)
    with budget.reserve(60):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()


def test_what_is_larger_than_the_budget_runs_alone() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(1000):
        pass
    inside: list[int] = []
    most: list[int] = []

    def enter() -> None:
        with budget.reserve(1000):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1] * 8


def test_decoding_waits_for_the_memory_that_its_header_asks_for() -> None:
    data = save(Image.new("RGBA", (100, 100)), "PNG")
    size = inspect(data, 10_000).decode_bytes
    assert size >= 100 * 100 * (4 + 3)
    budget = MemoryBudget(10 * size)
    done = threading.Event()

    def run() -> None:
        decode(data, 10_000, budget)
        done.set()

    thread = threading.Thread(target=run)
    with budget.reserve(10 * size):
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()
