"""The processes of the worker's image, by a word: `python -m worker [predictions | keeper | webhooks]`."""

import argparse
import signal
import sys
from importlib import import_module

PROCESSES = {
    "predictions": "worker.predictions_process",
    "keeper": "worker.keeper_process",
    "webhooks": "worker.webhooks_process",
}  # each module has a `main`

# Before what takes seconds to import: to a container's first process a signal that it does not handle is no signal at all.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
parser = argparse.ArgumentParser("python -m worker")
parser.add_argument(
    "process", nargs="?", choices=PROCESSES, default="predictions", help="default: predictions"
)
import_module(PROCESSES[parser.parse_args().process]).main()
