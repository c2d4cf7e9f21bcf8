"""The api process; see `api/app.py`."""

import signal
import sys
from importlib import import_module

# Set before the slow imports: the kernel drops a signal that a container's first process does not
# handle.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
# httpx goes without its command line, which would bring rich and pygments, 3 to 4 MB.
sys.modules["httpx._main"] = None  # type: ignore[assignment]  # Python's way to refuse an import
import_module("api.app").main()
