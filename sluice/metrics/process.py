"""The metrics that every process has: itself, and its calls to Redis."""

from importlib.metadata import version

from prometheus_client import ProcessCollector

from sluice.metrics.recorder import Described, Recorder
from sluice.redisio.statistics import ERRORS, ROUND_TRIPS

# prometheus_client names and reads these, on Linux.
_PROCESS = (
    ("process_cpu_seconds_total", "counter", "Processor time of the process, in seconds."),
    ("process_resident_memory_bytes", "gauge", "Memory of the process in RAM."),
    ("process_virtual_memory_bytes", "gauge", "Address space of the process."),
    ("process_open_fds", "gauge", "Open files of the process."),
    ("process_max_fds", "gauge", "Files that the process may open."),
    ("process_start_time_seconds", "gauge", "Start of the process, since the epoch."),
)


def add_process(recorder: Recorder) -> None:
    """Add the metrics of the process, and of its calls to Redis."""
    recorder.described += [Described(name, kind, text, ()) for name, kind, text in _PROCESS]
    ProcessCollector(registry=recorder.registry)
    recorder.gauge("sluice_build_info", "Always 1; the label has the version.", "version").labels(
        version("sluice")
    ).set(1)
    recorder.summary(
        "sluice_redis_round_trip_seconds",
        "Seconds from a command to Redis, or a pipeline, until its first answer.",
        values=lambda: ROUND_TRIPS.read().get("", (0, 0.0)),
    )
    recorder.read(
        "counter",
        "sluice_redis_errors_total",
        "Calls to Redis that failed: `timeout`, `unavailable`, `full` or `not_replicated`.",
        "reason",
        values=lambda: [((reason,), count) for reason, (count, _) in ERRORS.read().items()],
    )
