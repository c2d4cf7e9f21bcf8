"""The servers of the embedded stack: Redis and Triton, and their ports."""
