"""Notices a Triton that stands still, and a model in it that hangs, by Triton's metrics.

Triton's health stays good while a model hangs.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from sluice.errors import LocalStackError
from sluice.local.servers import probe

LOOKS = 6  # in a row without an answer of the model, or of the whole server
STUCK_AFTER_S = 60.0
TIMEOUT_S = 10.0
_SERIES = re.compile(
    r"^nv_inference_(pending_request_count|request_success|request_failure)\{([^}]*)\} (\S+)",
    re.MULTILINE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
#: Triton drops such requests by itself, even while the model hangs.
_NOT_ANSWERED = frozenset({"CANCELED", "REJECTED"})


class Counts(NamedTuple):
    """The requests of one version of a model."""

    waiting: float
    """Requests that the model has not begun. A caller that has given up still counts."""

    answered: float
    """Requests that the model has answered, with a result or an error, since Triton's start."""


Version = tuple[str, str]  # the model's name, and the version's number


def counts(metrics: str) -> dict[Version, Counts]:
    """The counts in the text of Triton's metrics."""
    found: dict[Version, Counts] = {}
    for name, labels, value in _SERIES.findall(metrics):
        label = dict(_LABEL.findall(labels))
        key = label.get("model", ""), label.get("version", "")
        waiting, answered = found.get(key, Counts(0, 0))
        if name == "pending_request_count":
            waiting += float(value)
        elif label.get("reason") not in _NOT_ANSWERED:
            answered += float(value)
        found[key] = Counts(waiting, answered)
    return found


class Progress:
    """Judges whether models hang, by one look after another.

    A model hangs when requests came to wait and LOOKS further looks saw no answer of the model. No
    clock is read here: a machine that slept for hours adds one look.
    """

    def __init__(self) -> None:
        self._seen: dict[Version, Counts] = {}
        self._looks: dict[Version, int] = {}

    def hanging(self, now: Mapping[Version, Counts]) -> list[Version]:
        """Take one look, and return what hangs."""
        looks: dict[Version, int] = {}
        for key, (waiting, answered) in now.items():
            before = self._seen.get(key)
            if before is None or answered != before.answered or not waiting:
                continue
            if key in self._looks:
                looks[key] = self._looks[key] + 1
            elif waiting > before.waiting:  # Triton may have miscounted what waited before
                looks[key] = 0
        self._seen, self._looks = dict(now), looks
        return [key for key, number in looks.items() if number >= LOOKS]


class HangWatch:
    """The trouble of a Triton that stands still, or in which a model hangs.

    `read` returns the text of its metrics, or None where no answer came.
    """

    def __init__(
        self,
        stuck_after_s: float,
        read: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With a `stuck_after_s` of 0, nothing is watched."""
        self._stuck_after_s = stuck_after_s
        self._read = read
        self._clock = clock
        self._pid = -1
        self._progress = Progress()
        self._silences = 0
        self._next = 0.0
        self._trouble: str | None = None

    def trouble(self, pid: int) -> str | None:
        """The reason to restart the server `pid`, or None.

        The metrics are read LOOKS times in `stuck_after_s`. Between two looks, the answer stays.
        """
        now = self._clock()
        if pid != self._pid:
            self._pid, self._next = pid, now
            self._progress, self._silences, self._trouble = Progress(), 0, None
        if self._stuck_after_s and now >= self._next:
            self._next = now + self._stuck_after_s / LOOKS
            metrics = self._read()
            if metrics is not None:
                self._silences = 0
                self._trouble = self._explain(self._progress.hanging(counts(metrics)))
            else:  # no model is judged
                self._silences += 1
                if self._silences >= LOOKS:
                    self._trouble = f"stands still: no answer came for {self._stuck_after_s:.0f} s"
        return self._trouble

    def _explain(self, hanging: Iterable[Version]) -> str | None:
        names = sorted({name for name, _ in hanging})
        if not names:
            return None
        return (
            f"has a model that hangs ({', '.join(names)}): requests waited for"
            f" {self._stuck_after_s:.0f} s, and none was answered; Triton is restarted; if the"
            " model hangs again, roll it back with `sluice models rollback`, or remove it"
        )


def reader(metrics_port: int) -> Callable[[], str | None]:
    """Reads the metrics of a Triton on this machine. None: no answer came."""
    return lambda: probe.text("127.0.0.1", metrics_port, "/metrics")


def stuck_after_s(environment: Mapping[str, str]) -> float:
    """SLUICE_TRITON_STUCK_AFTER_S, or twice the time for one inference where that is longer.

    0: never. The settings' own classes would cost the supervisor 15 MB. Raises LocalStackError.
    """
    after_s = _seconds(environment, "SLUICE_TRITON_STUCK_AFTER_S", STUCK_AFTER_S)
    timeout_s = _seconds(environment, "SLUICE_TRITON_TIMEOUT_S", TIMEOUT_S)
    return max(after_s, 2 * timeout_s) if after_s else 0.0


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise LocalStackError(f"{name}: {text!r} is no number of seconds")
    return value
