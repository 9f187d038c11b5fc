"""Measure the GPU kernels beside cuBLAS and the 4-bit kernels of others."""
