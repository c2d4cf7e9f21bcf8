"""The cookbook's experiment, run again: three recipes and the queue under the same calls.

Each handler gets 100 calls a session by three plans: one after another, all at once, and each at a
random moment. Then follow 1,000 and 5,000 calls at once. `docs/experiment/` gets the rows, the
figures and the tables.
"""

import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.cookbook import models, report, rows, servers
from benchmarks.cookbook.rows import Row
from benchmarks.cookbook.servers import Target
from sluice.local.paths import CHECKOUT

CALLS = 100
WINDOW_S = 20.0
"""The cookbook's window of random starts."""
RECIPES = rows.HANDLERS[:3]
PAUSE_S = 0.3


@dataclass(frozen=True)
class Options:
    """The sizes of one run."""

    sessions: int = 4
    replicas: tuple[int, ...] = (1, 5)
    compression: float = 20.0
    """Random starts lie within WINDOW_S divided by this number."""
    timeout_s: float = 60.0
    """A request without a whole answer after so many seconds fails."""
    bursts: tuple[int, ...] = (1000, 5000)
    """Calls at once, beyond the sessions' 100, with the most replicas."""
    calls: int = CALLS
    model: Path | None = None
    """A model as exported; None is the shipped detector in that form."""
    folder: Path = CHECKOUT / "docs" / "experiment"


@dataclass
class Result:
    """The rows so far, and the client's processor time."""

    sessions: list[Row] = field(default_factory=list)
    bursts: list[Row] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The client's milliseconds a call, by handler."""
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    """The machine's load before the run."""


def main() -> None:
    run(Options())


def run(options: Options) -> Result:
    """Run everything, and write the rows, the figures and the tables into the folder."""
    start, result = time.monotonic(), Result()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        image = picture(Path(name) / "image.jpg")
        repository = models.build(Path(name), options.model)
        for replicas in options.replicas:
            with servers.triton(repository) as running:
                for handler in RECIPES:
                    with servers.recipe(running, handler, replicas) as target:
                        _sessions(options, target, image, result)
            with servers.queue(repository, replicas) as target:
                _sessions(options, target, image, result)
            _write(options, result, start)
        for count in options.bursts:
            for handler in rows.HANDLERS:
                with _served(repository, handler, max(options.replicas)) as target:
                    _burst(options, target, image, count, result)
                _write(options, result, start)
    return result


def _write(options: Options, result: Result, start: float) -> None:
    """Write the page so far: a run that is ended early leaves what it has measured."""
    minutes = round((time.monotonic() - start) / 60, 1)
    facts = _facts(options, result) | {"minutes": minutes}
    report.write(options.folder, result.sessions, result.bursts, facts)
    print(f"written to {options.folder} after {minutes} minutes", flush=True)


def picture(target: Path) -> Path:
    """Write a sample as a JPEG of 810 x 1080 pixels and about 138 kB, and return the file."""
    data = BytesIO()
    sample = Image.open(CHECKOUT / "samples" / "desk.jpg").convert("RGB")
    sample.resize((1080, 810), Image.Resampling.LANCZOS).save(data, "JPEG", quality=87)
    target.write_bytes(data.getvalue())
    return target


@contextmanager
def _served(repository: Path, handler: str, replicas: int) -> Iterator[Target]:
    """One handler alone on the machine, warm."""
    if handler == "queue":
        with servers.queue(repository, replicas) as target:
            yield target
    else:
        with (
            servers.triton(repository) as running,
            servers.recipe(running, handler, replicas) as target,
        ):
            yield target


def _sessions(options: Options, target: Target, image: Path, result: Result) -> None:
    call(target, image, [0.0] * 8 * target.replicas, options.timeout_s)  # warms up
    for plan in rows.PLANS:
        for session in range(1, options.sessions + 1):
            delays = _delays(options, plan, session)
            answer = call(target, image, delays, options.timeout_s, serial=plan == "serial")
            made = rows.of_calls(target.handler, target.replicas, session, plan, answer["calls"])
            result.sessions += made
            result.cpu_ms[target.handler].append(answer["cpu_s"] / len(delays) * 1000)
            _tell(target, plan, made)
            time.sleep(PAUSE_S)


def _burst(options: Options, target: Target, image: Path, count: int, result: Result) -> None:
    call(target, image, [0.0] * 8 * target.replicas, options.timeout_s)
    answer = call(target, image, [0.0] * count, options.timeout_s)
    made = rows.of_calls(target.handler, target.replicas, 1, f"burst-{count}", answer["calls"])
    result.bursts += made
    result.cpu_ms[target.handler].append(answer["cpu_s"] / count * 1000)
    _tell(target, f"burst of {count}", made)


def _delays(options: Options, plan: str, session: int) -> list[float]:
    """The start of each call. Every handler gets the same random starts."""
    if plan != "random":
        return [0.0] * options.calls
    random_ = random.Random(session)
    return [random_.uniform(0, WINDOW_S / options.compression) for _ in range(options.calls)]


def call(
    target: Target, image: Path, delays: list[float], timeout_s: float, *, serial: bool = False
) -> dict[str, Any]:
    """Let the client call, and return its result. Raises CalledProcessError."""
    job = {
        "queue": target.queue,
        "host": servers.HOST,
        "port": target.port,
        "image": str(image),
        "delays": delays,
        "serial": serial,
        "timeout_s": timeout_s,
        "model": target.model,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cookbook.client"],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _tell(target: Target, plan: str, made: list[Row]) -> None:
    seen = rows.burst(made)
    print(
        f"{target.handler} x {target.replicas}, {plan}: {seen.answered} of {seen.calls} answered,"
        f" {seen.timeouts} timed out, {seen.errors} failed; end {seen.last_s:.2f} s {seen.reason}",
        flush=True,
    )


def _facts(options: Options, result: Result) -> dict[str, Any]:
    """The conditions of a run, for the page."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {_cpu()}",
        "load": round(result.load, 1),
        "python": platform.python_version(),
        "model": options.model.name if options.model else "codes",
        "sessions": options.sessions,
        "calls": options.calls,
        "window_s": WINDOW_S / options.compression,
        "compression": options.compression,
        "timeout_s": options.timeout_s,
        "client_cpu_ms": {
            name: round(sum(values) / len(values), 2) for name, values in result.cpu_ms.items()
        },
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line for line in lines if line.startswith("model name")), ": unknown")
    return name.partition(":")[2].strip()
