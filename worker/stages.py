"""The stopwatch of one attempt."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from worker.attempt_trace import AttemptTrace


class Stages:
    """A stopwatch for the stages of one attempt.

    `check` is called before each stage, and `confirm` before each batch of tiles. Both raise where
    the attempt must not go on: `check` by what is known here, `confirm` by asking the ledger.
    """

    def __init__(
        self,
        check: Callable[[], None] = lambda: None,
        confirm: Callable[[], None] = lambda: None,
        trace: AttemptTrace | None = None,
    ) -> None:
        #: Seconds by the stage's name and `_time`. A stage that comes again adds to its time.
        self.seconds: dict[str, float] = {}
        self.tiles = 0
        """The inferences of a prediction whose image was cut into tiles."""
        self.confirm = confirm
        self._check = check
        self._trace = trace
        if trace:
            trace.seconds = self.seconds

    @property
    def metrics(self) -> dict[str, float]:
        """The prediction's `metrics`."""
        return {**self.seconds, **({"tiles": self.tiles} if self.tiles else {})}

    def text(self) -> str:
        """Return the stages so far, on one line, in milliseconds."""
        stages = {name.removesuffix("_time"): seconds for name, seconds in self.seconds.items()}
        return ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in stages.items())

    def span(self, name: str) -> AbstractContextManager[None]:
        """Make a span of the block, with tracing on."""
        return self._trace.stage(name) if self._trace else nullcontext()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._check()
        start = time.perf_counter()
        try:
            if self._trace is None:
                yield
            else:
                with self._trace.stage(name):
                    yield
        finally:
            before = self.seconds.get(f"{name}_time", 0.0)
            self.seconds[f"{name}_time"] = round(before + time.perf_counter() - start, 6)
