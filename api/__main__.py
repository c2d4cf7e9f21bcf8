"""The api process; see `api/app.py`."""

import signal
import sys
from importlib import import_module

# Before what takes seconds to import: to a container's first process a signal that it does not handle is no signal at all.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
import_module("api.app").main()
