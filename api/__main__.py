"""The api process; see `api/app.py`."""

import signal
import sys
from importlib import import_module

# Set before the slow imports: the kernel drops a signal that a container's first process does not
# handle.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
import_module("api.app").main()
