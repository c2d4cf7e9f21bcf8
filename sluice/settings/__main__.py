"""Prints the page about settings."""

import sys

from sluice.settings.reference import reference

sys.stdout.write(reference())
