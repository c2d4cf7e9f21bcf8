"""Starts the page."""

import signal
import sys

from ui.app import main

if __name__ == "__main__":
    # uvicorn raises the signal that ended it once more. The uploads are deleted on the way out.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    main()
