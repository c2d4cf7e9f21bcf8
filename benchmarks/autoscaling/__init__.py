"""A simulation of KEDA and the HPA: seconds in the queue, and pod hours."""

from benchmarks.autoscaling.compare import main

__all__ = ["main"]
