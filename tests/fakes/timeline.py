"""The timeline in memory."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable

from sluice.ledger.timeline import Ends, Minute, minute_of
from tests.fakes.ledger import MemoryLedger

_MINUTE_S = 60


class MemoryTimeline:
    """Samples a `MemoryLedger`. `clock` gives seconds since the epoch."""

    def __init__(self, ledger: MemoryLedger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock
        self._minutes: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def record(self, ends: Ends) -> None:
        fields = self._minutes[int(self._clock() // _MINUTE_S)]
        fields.update(ends.fields())
        load = self._ledger.load()
        fields["backlog"] = max(fields["backlog"], load.live)
        fields["processing"] = max(fields["processing"], load.running)
        fields["workers"] = load.workers

    def read(self, minutes: int) -> list[Minute]:
        last = int(self._clock() // _MINUTE_S)
        return [
            minute_of(float(number * _MINUTE_S), self._minutes.get(number, {}))
            for number in range(last - minutes + 1, last + 1)
        ]
