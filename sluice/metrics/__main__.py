"""Prints the page about metrics."""

import sys

from sluice.metrics.reference import reference

sys.stdout.write(reference())
