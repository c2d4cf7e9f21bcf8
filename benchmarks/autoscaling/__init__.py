"""What KEDA and the HPA make of a load: seconds in the queue and pod hours, simulated."""

from benchmarks.autoscaling.compare import main

__all__ = ["main"]
