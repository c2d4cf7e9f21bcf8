"""The processes of the worker's image, by a word: `python -m worker [predictions | keeper | webhooks]`."""

import argparse
from importlib import import_module

PROCESSES = {
    "predictions": "worker.app",
    "keeper": "worker.keeper_app",
    "webhooks": "worker.webhooks_app",
}  # each module has a `main`

parser = argparse.ArgumentParser("python -m worker")
parser.add_argument("process", nargs="?", choices=PROCESSES, default="predictions", help="default: predictions")
import_module(PROCESSES[parser.parse_args().process]).main()
