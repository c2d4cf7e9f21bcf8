"""Start one of the worker's processes: `python -m worker [predictions | keeper | webhooks]`."""

import argparse
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

#: Each module has a `main`.
PROCESSES = {
    "predictions": "worker.predictions_process",
    "keeper": "worker.keeper_process",
    "webhooks": "worker.webhooks_process",
}

READY_FILES = {
    "predictions": "SLUICE_WORKER_READY_FILE",
    "webhooks": "SLUICE_WEBHOOKS_READY_FILE",
}

# The kernel drops a signal that the first process of a container does not handle.
# The handlers come before the imports, which take seconds.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
parser = argparse.ArgumentParser("python -m worker")
parser.add_argument(
    "process", nargs="?", choices=PROCESSES, default="predictions", help="default: predictions"
)
process = parser.parse_args().process
# A killed process leaves its file, and a restarted container would count as ready by that.
if ready_file := os.environ.get(READY_FILES.get(process, "")):
    Path(ready_file).unlink(missing_ok=True)
import_module(PROCESSES[process]).main()
