"""Skips for tests that run GPU kernels as OpenCL."""

from __future__ import annotations

import shutil

import pytest

from tests.opencl_device import opencl_is_missing

_missing = opencl_is_missing()
needs_opencl = pytest.mark.skipif(_missing is not None, reason=f"needs PoCL: {_missing}")
needs_oclgrind = pytest.mark.skipif(shutil.which("oclgrind") is None, reason="needs oclgrind")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
