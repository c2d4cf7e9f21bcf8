"""The worker: claims predictions, runs them through Triton and records the results."""
