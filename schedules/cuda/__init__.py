"""Schedule rules for GPUs: what they make runs as CUDA, and as OpenCL in the tests."""
