"""The whole pipeline with Triton on a GPU, and what the GPU and the CPUs do meanwhile."""
