"""`python -m benchmarks.cookbook`: the whole experiment with other sizes, or its page again."""

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.cookbook import report
from benchmarks.cookbook.experiment import Options, run


def main() -> None:
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cookbook", description="The cookbook's experiment, run again."
    )
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--sessions", type=int, default=usual.sessions, metavar="N")
    parser.add_argument("--calls", type=int, default=usual.calls, help="calls in a session")
    parser.add_argument("--replicas", type=int, nargs="+", default=usual.replicas, metavar="N")
    parser.add_argument(
        "--compression", type=float, default=usual.compression, help="of the random starts' 20 s"
    )
    parser.add_argument("--timeout", type=float, default=usual.timeout_s, metavar="SECONDS")
    parser.add_argument("--bursts", type=int, nargs="*", default=usual.bursts, metavar="CALLS")
    parser.add_argument(
        "--model", type=Path, help="an ONNX file as exported; default: the shipped detector"
    )
    parser.add_argument("--folder", type=Path, default=usual.folder, help="for the results")
    given = parser.parse_args()
    if given.what == "report":
        report.refresh(given.folder)
        return
    run(
        replace(
            usual,
            sessions=given.sessions,
            calls=given.calls,
            replicas=tuple(given.replicas),
            compression=given.compression,
            timeout_s=given.timeout,
            bursts=tuple(given.bursts),
            model=given.model,
            folder=given.folder,
        )
    )


main()
