"""Faults: drawn from the seed before the run, then done to the processes that the stack names."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.proxy import Proxy

LINKS = ("front", "api-redis", "api-triton", "worker-redis", "worker-triton")
# Each card is dealt once before any is dealt again. `workers` means all workers at once, with every
# keeper. An ambush freezes Triton and then kills: a prediction takes few milliseconds, so a kill
# alone mostly finds an idle worker. An outage does the same to Redis, which then stays away: killed
# with its links refused, or stopped.
DECK = (
    *(("outage", end) for end in ("down", "freeze")),
    *(("ambush", part) for part in ("worker", "worker", "workers")),
    *(
        ("kill", part)
        for part in (
            "worker",
            "worker",
            "worker",
            "workers",
            "webhooks",
            "api",
            "api",
            "redis",
            "triton",
        )
    ),
    *(
        ("freeze", part)
        for part in ("worker", "worker", "workers", "webhooks", "api", "redis", "triton")
    ),
    *((kind, link) for kind in ("cut", "hole", "stall") for link in LINKS),
)
_LONGEST_S = {"freeze": 7.0, "hole": 6.0, "stall": 5.0}
_SHORTEST_S = 1.5
_OUTAGE_S = (2.0, 10.0)
_AMBUSH_S = 2.0
_SPARED = {"supervisor", "reaper"}  # these restart or end the other processes


@dataclass(frozen=True)
class Fault:
    """One fault of the schedule."""

    at_s: float
    """Seconds since the start of the chaos."""
    kind: str
    target: str
    lasts_s: float = 0.0
    pick: float = 0.0
    """Chooses one of several processes: from 0 for the first to 1 for the last."""
    share: float = 1.0
    """The share of a link's connections."""

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        share = (
            f" ({self.share:.0%} of the connections)"
            if self.target in LINKS and self.kind != "stall"
            else ""
        )
        return f"{self.at_s:6.1f} s  {self.kind} {self.target}{lasts}{share}"


def draw(seed: int, seconds: float, every_s: float, only: Collection[str] = ()) -> list[Fault]:
    """A schedule of faults, one each `every_s` on average, that are all over before `seconds`.

    `only` names the cards to deal, such as `kill:worker`; all where it is empty.
    """
    rng = random.Random(f"faults {seed}")
    deck: list[tuple[str, str]] = []
    faults = []
    at_s = rng.uniform(0.5, 1.0) * min(every_s, 3.0)
    while at_s < seconds:
        if not deck:
            deck = [card for card in DECK if not only or ":".join(card) in only]
            rng.shuffle(deck)
        kind, target = deck.pop()
        if kind in ("ambush", "outage") and at_s + _AMBUSH_S < seconds:
            faults.append(Fault(round(at_s, 2), "freeze", "triton", _AMBUSH_S))
            at_s += _AMBUSH_S / 2
        shortest_s, longest_s = _SHORTEST_S, _LONGEST_S.get(kind, 0.0)
        if kind == "outage":
            (shortest_s, longest_s), kind, target = _OUTAGE_S, target, "redis"
        kind = "kill" if kind == "ambush" else kind
        lasts_s = min(rng.uniform(shortest_s, longest_s), seconds - at_s) if longest_s else 0.0
        share = rng.choice([0.3, 0.6, 1.0])
        faults.append(
            Fault(round(at_s, 2), kind, target, round(lasts_s, 2), round(rng.random(), 3), share)
        )
        at_s += min(rng.expovariate(1 / every_s), 2 * every_s)
    return faults


class Damage:
    """Does the faults, and describes each to `note`, for the log."""

    def __init__(
        self, state: Path, proxies: Mapping[str, Proxy], seed: int, note: Callable[[str], None]
    ) -> None:
        self._state = state
        self._proxies = proxies
        self._rng = random.Random(f"damage {seed}")
        self._note = note

    async def run(self, faults: Sequence[Fault], start: float) -> None:
        """Do all faults, at their times after `start` (monotonic); returns once all are healed."""
        lasting = set()
        for fault in faults:
            await asyncio.sleep(max(0.0, start + fault.at_s - time.monotonic()))
            undo = self._do(fault)
            if undo:
                lasting.add(asyncio.create_task(self._undo(fault, undo)))
        await asyncio.gather(*lasting)

    async def _undo(self, fault: Fault, undo: Callable[[], None]) -> None:
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            undo()
            self._note(f"healed: {fault.kind} {fault.target}")

    def _do(self, fault: Fault) -> Callable[[], None] | None:
        if fault.kind in ("kill", "freeze", "down"):
            processes = self._processes(fault)
            names = ", ".join(processes.values()) or "no process, it is just being restarted"
            self._note(f"{fault.kind} {fault.target}: {names}")
            if fault.kind == "freeze":
                return self._freeze(processes)
            self._kill(processes)
            return self._refuse() if fault.kind == "down" else None
        proxy = self._proxies[fault.target]
        if fault.kind == "stall":
            proxy.stall()
            self._note(f"stall {fault.target}")
            return proxy.heal_stall
        count = (proxy.cut if fault.kind == "cut" else proxy.hole)(self._rng, fault.share)
        self._note(f"{fault.kind} {fault.target}: {count} connections")
        return proxy.heal_hole if fault.kind == "hole" else None

    def _kill(self, processes: Mapping[int, str]) -> None:
        for descriptor in processes:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)

    def _refuse(self) -> Callable[[], None]:
        """Keep Redis away, although it is restarted."""
        links = [proxy for name, proxy in self._proxies.items() if name.endswith("-redis")]
        for link in links:
            link.refuse()

        def heal() -> None:
            for link in links:
                link.heal_refusal()

        return heal

    def _freeze(self, processes: Mapping[int, str]) -> Callable[[], None]:
        def thaw() -> None:
            for descriptor in processes:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGCONT)
                os.close(descriptor)

        for descriptor in processes:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
        return thaw

    def _processes(self, fault: Fault) -> dict[int, str]:
        """The fault's processes: a descriptor of each, with its name.

        Unlike a pid, a descriptor can't mean another process later.
        """
        pids = self._pids()
        prefix = "worker" if fault.target == "workers" else fault.target
        names = sorted(name for name in pids if name.startswith(prefix))
        if fault.target != "workers" and names:
            names = [names[int(fault.pick * len(names))]]
        processes = {}
        for name in names:
            try:
                descriptor = os.pidfd_open(pids[name])
            except ProcessLookupError:
                continue
            if self._pids().get(name) == pids[name]:
                processes[descriptor] = f"{name} ({pids[name]})"
            else:
                os.close(descriptor)
        return processes

    def _pids(self) -> dict[str, int]:
        """The processes that the stack reports now."""
        pids: dict[str, int] = json.loads((self._state / "stack.json").read_text())["pids"]
        return {name: pid for name, pid in pids.items() if name not in _SPARED}
