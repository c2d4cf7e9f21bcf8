"""The cookbook's experiment, run again: its three recipes and the queue under the same calls."""
