"""`python -m tests.chaos`: run the harness, print faults and breaches, exit 1 on any breach."""

import argparse
import asyncio
import json
import sys
import tempfile
import traceback
from collections import defaultdict
from pathlib import Path

from tests.chaos import checker
from tests.chaos.failovers import Failovers
from tests.chaos.harness import Harness, Options

_SHOWN = 5  # breaches of one kind that are printed


def main() -> int:
    """0: no breach; 1: some breach; 2: the run itself failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long faults happen (300)")
    parser.add_argument("--seed", type=int, default=1, help="draws the clients and the faults (1)")
    parser.add_argument(
        "--workdir", type=Path, help="for the log, the report and the stack's state (a new one)"
    )
    parser.add_argument("--rate", type=float, default=Options.rate, help="submissions a second")
    parser.add_argument(
        "--every",
        type=float,
        default=Options.every_s,
        help="seconds from fault to fault, on average",
    )
    parser.add_argument(
        "--bound",
        type=float,
        default=Options.bound_s,
        help="seconds after the last fault until all has ended",
    )
    parser.add_argument(
        "--recovery",
        type=float,
        default=Options.recovery_s,
        help="seconds after the last fault until all is answered",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        metavar="KIND:TARGET",
        help="only these faults, as kill:worker",
    )
    parser.add_argument(
        "--env", nargs="*", default=[], metavar="NAME=VALUE", help="for the api and the workers"
    )
    parser.add_argument(
        "--sentinel", action="store_true", help="failovers of two Redis instead; see failovers.py"
    )
    parser.add_argument("--failovers", type=int, default=20, help="with --sentinel (20)")
    parser.add_argument(
        "--min-replicas", type=int, default=1, help="with --sentinel: SLUICE_QUEUE_MIN_REPLICAS (1)"
    )
    arguments = parser.parse_args()
    workdir = arguments.workdir or Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    workdir.mkdir(parents=True, exist_ok=True)
    if arguments.sentinel:
        return _fail_over(workdir, arguments.failovers, arguments.min_replicas)
    options = Options(
        workdir=workdir,
        seconds=arguments.seconds,
        seed=arguments.seed,
        rate=arguments.rate,
        every_s=arguments.every,
        bound_s=arguments.bound,
        recovery_s=arguments.recovery,
        only=tuple(arguments.only),
        env=dict(pair.split("=", 1) for pair in arguments.env),
    )
    try:
        path = asyncio.run(Harness(options, _say).run())
    except Exception:
        traceback.print_exc()
        return 2
    report = checker.check(checker.read(path))
    _print(report, options)
    _say(f"the log is {path}")
    summary = {
        "breaches": [vars(breach) for breach in report.breaches],
        "counts": report.counts,
        "slowest_s": report.slowest_s,
    }
    (workdir / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    return 1 if report.breaches else 0


def _fail_over(workdir: Path, count: int, min_replicas: int) -> int:
    try:
        report = Failovers(workdir, count=count, min_replicas=min_replicas, say=_say).run()
    except Exception:
        traceback.print_exc()
        return 2
    for line in report.lines():
        _say(line)
    for name, status in list(report.lost.items())[:_SHOWN]:
        _say(f"LOST {name}: {status}")
    return 1 if report.lost else 0


def _print(report: checker.Report, options: Options) -> None:
    _say("\ncounts")
    for name, count in sorted(report.counts.items()):
        _say(f"  {name:<28} {count:>7}")
    _say(
        f"the last prediction ended {report.slowest_s:.1f} s after the last fault;"
        f" the bound is {options.bound_s:.0f} s"
    )
    kinds = defaultdict(list)
    for breach in report.breaches:
        kinds[breach.kind].append(breach)
    for kind, breaches in kinds.items():
        _say(f"\nBREACH {kind}: {len(breaches)}")
        for breach in breaches[:_SHOWN]:
            _say(f"  {breach}")
    _say(f"\n{len(report.breaches)} breaches" if report.breaches else "\nno breach")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
