"""`python -m benchmarks [NAME …]`: runs all benchmarks but the longest, or the named ones."""

import argparse
import sys

from benchmarks import (
    accept,
    autoscaling,
    cancel,
    ensemble,
    fold,
    guard,
    price,
    redis_cost,
    road,
    slicing,
    soak,
    webhooks,
    workers,
)
from benchmarks.cookbook import experiment
from benchmarks.peers import command as peers
from benchmarks.peers import loss
from benchmarks.speed import command as speed

ALL = {
    "speed": speed.main,
    "road": road.main,
    "price": price.main,
    "redis_cost": redis_cost.main,
    "accept": accept.main,
    "webhooks": webhooks.main,
    "fold": fold.main,
    "ensemble": ensemble.main,
    "slicing": slicing.main,
    "cancel": cancel.main,
    "workers": workers.main,
    "autoscaling": autoscaling.main,
    "peers": peers.main,
    "loss": loss.main,
    "guard": guard.main,
    "cookbook": experiment.main,
    "soak": soak.main,
}
DEFAULT = [name for name in ALL if name not in ("autoscaling", "cookbook", "guard", "soak")]


def title(name: str) -> str:
    """The first line of a benchmark's docstring."""
    return (sys.modules[ALL[name].__module__].__doc__ or "").splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Timings, as ratios to a baseline in the same run.",
        epilog="\n".join(f"{name:<12} {title(name)}" for name in ALL),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of those below; default: {' '.join(DEFAULT)}"
    )
    names = parser.parse_args().names or DEFAULT
    for name in names:
        if name not in ALL:
            parser.error(f"no benchmark {name!r}; there are {', '.join(ALL)}")
    for name in names:
        print(f"\n== {name}: {title(name)}", flush=True)
        ALL[name]()


main()
