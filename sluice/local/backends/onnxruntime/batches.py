"""Joins requests along the batch axis, and splits the results.

The module works on plain arrays, without Triton.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Feed = dict[str, Any]  # an array by the name of its input
Run = Callable[[list[str], Feed], list[Any]]


def groups(feeds: Sequence[Feed], batched: bool) -> list[list[int]]:
    """Group the feeds that can go through the engine together; returns their indices.

    Feeds of one group have the same inputs, types and shapes, apart from the batch axis. When
    `batched` is false, each feed is a group of its own.
    """
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
    """Run the feeds of one group in one call of the engine.

    Returns the outputs of each feed, as views of the engine's rows. A single feed is passed on
    without a copy.

    Raises the engine's exceptions, and ValueError when an output has not one row for each row of
    the input.
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
    """Like `run`, but a feed that can't be run fails alone.

    When `run` fails, the feeds are run one by one. Returns an answer or an exception for each.
    """
    try:
        return [*run(engine, outputs, feeds)]
    except Exception as error:
        if len(feeds) == 1:
            return [error]
    answers: list[Feed | Exception] = []
    for feed in feeds:
        try:
            # An engine may reuse the memory of its outputs for the next run.
            answers.append(
                {name: array.copy() for name, array in run(engine, outputs, [feed])[0].items()}
            )
        except Exception as error:
            answers.append(error)
    return answers


def union(names: Iterable[Iterable[str]], order: Sequence[str]) -> list[str]:
    """The names that occur in any of `names`, in the order of `order`."""
    wanted = {name for some in names for name in some}
    return [name for name in order if name in wanted]


def _rows(feed: Feed) -> int:
    (rows,) = {array.shape[0] for array in feed.values()}
    return int(rows)
