"""The embedded stack: Redis and Triton from wheels, the api and workers, as supervised processes; no Docker, no GPU."""
