"""Requests put together along the batch axis and taken apart again. Plain arrays: nothing here knows of Triton."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Feed = dict[str, Any]  # an array by the name of its input
Run = Callable[[list[str], Feed], list[Any]]


def groups(feeds: Sequence[Feed], batched: bool) -> list[list[int]]:
    """The indices of the feeds that can go through the engine together: same inputs, types and shapes but for the batch axis."""
    alike: dict[Any, list[int]] = {}
    for index, feed in enumerate(feeds):
        key = (
            tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in feed.items()))
            if batched
            else index
        )
        alike.setdefault(key, []).append(index)
    return list(alike.values())


def run(engine: Run, outputs: list[str], feeds: Sequence[Feed]) -> list[Feed]:
    """Run the feeds of one group in one call of the engine; give each its own rows of every output.

    Raises whatever the engine raises, and ValueError when an output has no row for each row of the input. A single feed is
    passed on as it is, and rows are views: nothing is copied but what must be put together.
    """
    if len(feeds) == 1:
        return [dict(zip(outputs, engine(outputs, feeds[0]), strict=True))]
    sizes = [_rows(feed) for feed in feeds]
    together = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    results = dict(zip(outputs, engine(outputs, together), strict=True))
    for name, array in results.items():
        if not array.shape or array.shape[0] != sum(sizes):
            raise ValueError(
                f"output {name!r} has the shape {array.shape} for a batch of {sum(sizes)}"
            )
    ends = np.cumsum(sizes)
    return [
        {name: array[end - size : end] for name, array in results.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def run_each(engine: Run, outputs: list[str], feeds: Sequence[Feed]) -> list[Feed | Exception]:
    """As `run`; where it fails, run the feeds one by one, so that one that can't be run fails alone."""
    try:
        return [*run(engine, outputs, feeds)]
    except Exception as error:
        if len(feeds) == 1:
            return [error]
    answers: list[Feed | Exception] = []
    for feed in feeds:
        try:
            # An engine may use its outputs' memory again for its next run.
            answers.append(
                {name: array.copy() for name, array in run(engine, outputs, [feed])[0].items()}
            )
        except Exception as error:
            answers.append(error)
    return answers


def union(names: Iterable[Iterable[str]], order: Sequence[str]) -> list[str]:
    """All names that any of them holds, in the given order."""
    wanted = {name for some in names for name in some}
    return [name for name in order if name in wanted]


def _rows(feed: Feed) -> int:
    (rows,) = {array.shape[0] for array in feed.values()}
    return int(rows)
