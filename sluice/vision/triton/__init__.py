"""Inference on Triton over gRPC.

With a Triton on this host, tensors lie in system shared memory; see `../shared_memory.py`.
With any other, tensors travel as bytes in the gRPC messages.
"""
