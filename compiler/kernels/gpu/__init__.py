"""Scheduled kernels to device code: CUDA, and OpenCL for tests without a GPU."""
