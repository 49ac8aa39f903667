"""The GPU side of the house: where arrays live, and kernels for CUDA devices."""
