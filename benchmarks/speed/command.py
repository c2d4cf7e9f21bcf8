"""The speed of the whole service: the table of its rows, of this checkout and of others.

Image to result over HTTP, as ratios to a bare loop in the same run: decode, letterbox, infer,
suppress. `python -m benchmarks.speed --help` names the options.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.run import GROUPS, Plan, run
from benchmarks.speed.table import ROWS, printed, spreads
from sluice.local.paths import CHECKOUT


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument(
        "--checkout",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="measure the service of another checkout too; repeat for more",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--rows", default=",".join(GROUPS), help=f"groups of rows, of {','.join(GROUPS)}"
    )
    parser.add_argument("--model", type=Path, help="an ONNX file; default: one of random weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    given = parser.parse_args(list(arguments))
    rows = given.rows.split(",")
    if unknown := set(rows) - set(GROUPS):
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    checkouts = {path.resolve().name: path.resolve() for path in given.checkout}
    plan = Plan({**checkouts, "this": CHECKOUT}, given.rounds, rows, given.model)
    samples = run(plan)
    if given.json:
        given.json.write_text(json.dumps(samples, indent=1))
    print(printed({name: spreads(rounds, ROWS) for name, rounds in samples.items()}, ROWS))
