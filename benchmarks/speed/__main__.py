"""`python -m benchmarks.speed [OPTION …]`."""

import sys

from benchmarks.speed.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
