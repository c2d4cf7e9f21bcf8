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

#: The files that tell probes about the process.
SIGNS = {
    "predictions": ("SLUICE_WORKER_READY_FILE", "SLUICE_WORKER_ALIVE_FILE"),
    "keeper": ("SLUICE_WORKER_ALIVE_FILE",),
    "webhooks": ("SLUICE_WEBHOOKS_READY_FILE", "SLUICE_WEBHOOKS_ALIVE_FILE"),
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
# A killed process leaves its files, and a restarted container would count as ready by these.
for sign in SIGNS[process]:
    if file := os.environ.get(sign):
        Path(file).unlink(missing_ok=True)
# httpx goes without its command line, which would bring rich and pygments, 3 to 4 MB.
sys.modules["httpx._main"] = None  # type: ignore[assignment]  # Python's way to refuse an import
import_module(PROCESSES[process]).main()
