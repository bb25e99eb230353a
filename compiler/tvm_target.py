"""From a `TargetSpec` to the `tvm.target.Target` that code is generated for."""

from __future__ import annotations

from typing import Any, Literal

import tvm

from compiler.target_spec import TargetSpec


def tvm_target(spec: TargetSpec) -> tvm.target.Target:
    """Return the LLVM target with the spec's triple, CPU, features and cores.

    Of a microcontroller whose kernels are C it is C: their compiler knows the processor. Of a GPU
    target it is the host program's; `device_target` is the GPU's.
    """
    if not spec.has_llvm_kernels:
        return tvm.target.Target({"kind": "c"})
    options: dict[str, Any] = {
        "kind": "llvm",
        "mtriple": _whole_triple(spec.llvm.triple),
        "mcpu": spec.llvm.cpu,
        "num-cores": spec.cores.count,
    }
    if spec.family == "mcu":
        options["vector-width"] = spec.vector.width_bits  # TVM guesses 128, and says so
    if spec.llvm.features:
        options["mattr"] = list(spec.llvm.features)
    if spec.llvm.float_abi is not None:
        options["mfloat-abi"] = spec.llvm.float_abi
    if spec.llvm.abi is not None:
        options["mabi"] = spec.llvm.abi
    return tvm.target.Target(options)


# LLVM's names of what converts halves to float32.
_WIDENING = {"x86_64": "f16c", "thumb": "fp16", "riscv": "zfhmin"}


def widens_halves(target: tvm.target.Target) -> bool:
    """Whether the processor converts float16 to float32 by one instruction; C is not asked."""
    if target.kind.name != "llvm":
        return True
    triple = str(target.attrs["mtriple"])
    has_feature = tvm.get_global_func("target.llvm_cpu_has_feature")
    for architecture, feature in _WIDENING.items():
        if triple.startswith(architecture):
            return bool(has_feature(feature, target))
    return True  # 64-bit Arm


def has_llvm_feature(spec: TargetSpec, feature: str) -> bool:
    """Whether LLVM says that the spec's processor has the feature."""
    options: dict[str, Any] = {
        "kind": "llvm",
        "mtriple": _whole_triple(spec.llvm.triple),
        "mcpu": spec.llvm.cpu,
        **({"mattr": list(spec.llvm.features)} if spec.llvm.features else {}),
    }
    has_features = tvm.get_global_func("target.llvm_cpu_has_feature")
    return bool(has_features(feature, tvm.target.Target(options)))


def _whole_triple(triple: str) -> str:
    """Return a triple with its system: ``thumbv7em-none-eabihf`` names none.

    LLVM reads what stands third as the system, so it would not know that the ABI is Arm's, whose
    helper functions have other names and take floats in general registers: `__aeabi_f2lz`.
    """
    words = triple.split("-")
    if len(words) == 3 and words[2].startswith("eabi"):
        return "-".join((*words[:2], "unknown", words[2]))
    return triple


def is_x86(target: tvm.target.Target) -> bool:
    """Whether code is for a processor of 64-bit x86."""
    return str(dict(target.export()).get("mtriple", "")).startswith("x86_64")


def is_avx2(target: tvm.target.Target) -> bool:
    """Whether the widest vectors of integers are those of AVX2."""
    has_feature = tvm.get_global_func("target.llvm_cpu_has_feature")
    return bool(has_feature("avx2", target)) and not has_feature("avx512bw", target)


def without_scalable_vectors(target: tvm.target.Target) -> tvm.target.Target:
    """Return the target as TVM's passes over loops shall see it: RISC-V without its V.

    With V they replace vectors of a known length by masked ones of an unknown length, of which LLVM
    keeps no sum in a register. LLVM itself is given the whole target.
    """
    facts = dict(target.export())
    features = [str(feature) for feature in facts.get("mattr", [])]
    if "+v" not in features or "riscv" not in str(facts.get("mtriple", "")):
        return target
    return tvm.target.Target({**facts, "mattr": [f for f in features if f != "+v"]})


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
