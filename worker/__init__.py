"""The worker: claims predictions, runs them through Triton, records the results."""
