"""Start one of the worker's processes: `python -m worker [predictions | keeper | webhooks]`."""

import argparse
import signal
import sys
from importlib import import_module

#: Each module has a `main`.
PROCESSES = {
    "predictions": "worker.predictions_process",
    "keeper": "worker.keeper_process",
    "webhooks": "worker.webhooks_process",
}

# The kernel drops a signal that the first process of a container does not handle.
# The handlers come before the imports, which take seconds.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
parser = argparse.ArgumentParser("python -m worker")
parser.add_argument(
    "process", nargs="?", choices=PROCESSES, default="predictions", help="default: predictions"
)
import_module(PROCESSES[parser.parse_args().process]).main()
