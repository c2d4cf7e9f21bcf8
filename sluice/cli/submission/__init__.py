"""The parts of `sluice submit`."""
