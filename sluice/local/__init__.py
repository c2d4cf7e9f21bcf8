"""The embedded stack: Redis, Triton, the api and workers as supervised processes.

Redis and Triton come from wheels. Neither Docker nor a GPU is needed.
"""
