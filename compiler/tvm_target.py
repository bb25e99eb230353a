"""From a `TargetSpec` to the `tvm.target.Target` that code is generated for."""

from __future__ import annotations

from typing import Any, Literal

import tvm

from compiler.target_spec import TargetSpec


def tvm_target(spec: TargetSpec) -> tvm.target.Target:
    """Return the LLVM target with the spec's triple, CPU, features and cores.

    Of a GPU target it is the host program's; `device_target` is the GPU's.
    """
    options: dict[str, Any] = {
        "kind": "llvm",
        "mtriple": spec.llvm.triple,
        "mcpu": spec.llvm.cpu,
        "num-cores": spec.cores.count,
    }
    if spec.llvm.features:
        options["mattr"] = list(spec.llvm.features)
    if spec.llvm.float_abi is not None:
        options["mfloat-abi"] = spec.llvm.float_abi
    if spec.llvm.abi is not None:
        options["mabi"] = spec.llvm.abi
    return tvm.target.Target(options)


def device_target(spec: TargetSpec, kind: Literal["cuda", "opencl"] = "cuda") -> tvm.target.Target:
    """Return the target of a GPU's kernels, their host being `tvm_target`.

    Args:
        kind: ``opencl`` gives the same kernels in a language that also runs on CPUs.
    """
    gpu = spec.gpu
    assert gpu is not None, spec.name  # of family gpu: target_checks.py
    options: dict[str, Any] = {
        "kind": kind,
        "max_num_threads": gpu.threads_per_block_count,
        "max_threads_per_block": gpu.threads_per_block_count,
        "max_shared_memory_per_block": gpu.shared_memory_per_block_bytes,
        "thread_warp_size": gpu.warp_threads_count,
    }
    if kind == "cuda":
        options["arch"] = gpu.arch
    return tvm.target.Target(options, host=tvm_target(spec))
