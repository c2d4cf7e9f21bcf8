"""The budget lets in what fits, in turn."""

import threading

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
