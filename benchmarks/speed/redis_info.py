"""The cost of Redis, from its own counters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SCRIPTS = ("eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro")


@dataclass(frozen=True)
class Cost:
    """The cost of Redis over some time, or since its start."""

    main_thread_s: float
    commands: int
    """All calls, those inside scripts included."""
    scripts: int
    script_s: float
    """The time of the scripts, with the commands inside."""

    @classmethod
    def read(cls, cpu: Mapping[str, Any], commandstats: Mapping[str, Any]) -> "Cost":
        """From the sections `cpu` and `commandstats` of INFO, as redis-py returns them."""
        calls = {
            name.removeprefix("cmdstat_"): numbers
            for name, numbers in commandstats.items()
            if name.startswith("cmdstat_")
        }
        scripts = [numbers for name, numbers in calls.items() if name in _SCRIPTS]
        return cls(
            cpu["used_cpu_sys_main_thread"] + cpu["used_cpu_user_main_thread"],
            sum(numbers["calls"] for numbers in calls.values()),
            sum(numbers["calls"] for numbers in scripts),
            sum(numbers["usec"] for numbers in scripts) / 1e6,
        )

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(
            self.main_thread_s - before.main_thread_s,
            self.commands - before.commands,
            self.scripts - before.scripts,
            self.script_s - before.script_s,
        )

    def per(self, predictions: int) -> dict[str, float]:
        """The figures of one prediction, and the mean microseconds of a script."""
        return {
            "main_ms": self.main_thread_s * 1000 / predictions,
            "commands": self.commands / predictions,
            "scripts": self.scripts / predictions,
            "script_us": self.script_s * 1e6 / self.scripts if self.scripts else 0.0,
        }
