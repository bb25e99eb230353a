"""Cross-checks of a target spec: facts that are each well-formed but do not fit together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from itertools import pairwise

from compiler.arm_cpu_features import AARCH64_CPUS, AARCH64_FEATURES, aarch64_features
from compiler.board_address import address_fault
from compiler.cpu_features import X86_CPUS, X86_FEATURES, apply_feature_flags
from compiler.errors import TargetError
from compiler.target_tables import TargetSpec

# Bits of vector width -> the x86 feature that has integer and float arithmetic of that width.
_X86_WIDTH_FEATURE = {256: "avx2", 512: "avx512f"}


def validate(spec: TargetSpec) -> TargetSpec:
    """Return `spec` if its facts agree with each other.

    Raises:
        TargetError: the first check that fails, with both numbers.
    """
    for check in _CHECKS:
        check(spec)
    return spec


def check_counts_are_positive(spec: TargetSpec) -> None:
    counts = {
        "[vector] width_bits": spec.vector.width_bits,
        "[vector] register_count": spec.vector.register_count,
        "[cores] count": spec.cores.count,
        "[cache] line_bytes": spec.cache.line_bytes,
    }
    for region in spec.memory:
        counts[f"[memory.{region.name}] size_bytes"] = region.size_bytes
        counts[f"[memory.{region.name}] align_bytes"] = region.align_bytes
    for key, value in counts.items():
        if value <= 0:
            raise _disagree(spec, f"{key} is {value}", "it must be at least 1")
    sizes = {"l1d_bytes": spec.cache.l1d_bytes, "l2_bytes": spec.cache.l2_bytes}
    for key, value in {**sizes, "l3_bytes": spec.cache.l3_bytes}.items():
        if value < 0:
            raise _disagree(spec, f"[cache] {key} is {value}", "a size is 0 or more")


def check_powers_of_two(spec: TargetSpec) -> None:
    values = {
        "[vector] width_bits": spec.vector.width_bits,
        "[cache] line_bytes": spec.cache.line_bytes,
    }
    for region in spec.memory:
        values[f"[memory.{region.name}] align_bytes"] = region.align_bytes
    for key, value in values.items():
        if value & (value - 1):
            raise _disagree(spec, f"{key} is {value}", "it must be a power of two")


def check_x86_cpu_is_known(spec: TargetSpec) -> None:
    if spec.llvm.architecture != "x86_64" or spec.llvm.cpu in X86_CPUS:
        return
    raise _not_in_table(spec, f"[llvm] cpu `{spec.llvm.cpu}`", spec.llvm.cpu, X86_CPUS)


def check_aarch64_cpu_is_known(spec: TargetSpec) -> None:
    if spec.llvm.is_aarch64 and spec.llvm.cpu not in AARCH64_CPUS:
        raise _not_in_table(spec, f"[llvm] cpu `{spec.llvm.cpu}`", spec.llvm.cpu, AARCH64_CPUS)


def check_aarch64_is_called_so(spec: TargetSpec) -> None:
    if spec.llvm.architecture == "arm64":
        raise TargetError(
            f"target {spec.name}: [llvm] triple is `{spec.llvm.triple}`",
            why="TVM takes arm64, Apple's name of 64-bit Arm, for a 32-bit Arm",
            fix=f"write `{spec.llvm.triple.replace('arm64', 'aarch64', 1)}`",
        )


def check_riscv_has_an_abi(spec: TargetSpec) -> None:
    if not spec.llvm.architecture.startswith("riscv") or spec.llvm.abi is not None:
        return
    raise _disagree(
        spec,
        "[llvm] has no `abi`",
        "objects for RISC-V cannot be linked with others unless both pass floats alike",
    )


def check_scalable_vectors_are_sve(spec: TargetSpec) -> None:
    if not spec.vector.scalable:
        return
    llvm = spec.llvm
    if not llvm.is_aarch64 or "sve" not in aarch64_features(llvm.cpu, llvm.features):
        raise _disagree(
            spec,
            "[vector] scalable is true",
            f"only SVE is known, and cpu `{llvm.cpu}` does not have it",
        )


def check_feature_flags(spec: TargetSpec) -> None:
    for flag in spec.llvm.features:
        if flag[:1] not in ("+", "-") or len(flag) < 2:
            raise _disagree(
                spec,
                f"[llvm] features holds `{flag}`",
                "a feature is switched on by `+name` and off by `-name`",
            )
        if spec.llvm.architecture == "x86_64" and flag[1:] not in X86_FEATURES:
            raise _not_in_table(spec, f"[llvm] feature `{flag}`", flag[1:], X86_FEATURES)
        if spec.llvm.is_aarch64 and flag[1:] not in AARCH64_FEATURES:
            raise _not_in_table(spec, f"[llvm] feature `{flag}`", flag[1:], AARCH64_FEATURES)


def check_vector_width_has_its_feature(spec: TargetSpec) -> None:
    if spec.llvm.architecture != "x86_64":
        return
    width = spec.vector.width_bits
    if width not in (128, *_X86_WIDTH_FEATURE):
        raise _disagree(spec, f"[vector] width_bits is {width}", "x86-64 has 128, 256 and 512")
    feature = _X86_WIDTH_FEATURE.get(width)
    if feature is not None and feature not in _x86_features(spec):
        raise _disagree(
            spec,
            f"[vector] width_bits is {width}",
            f"{width} bits need `{feature}`, which cpu `{spec.llvm.cpu}` with features "
            f"{list(spec.llvm.features)} does not have",
        )


def check_x86_register_count(spec: TargetSpec) -> None:
    if spec.llvm.architecture != "x86_64":
        return
    available = 32 if "avx512f" in _x86_features(spec) else 16
    if spec.vector.register_count > available:
        raise _disagree(
            spec,
            f"[vector] register_count is {spec.vector.register_count}",
            f"cpu `{spec.llvm.cpu}` has {available} vector registers",
        )


def check_cache_levels_grow(spec: TargetSpec) -> None:
    levels = {
        "l1d_bytes": spec.cache.l1d_bytes,
        "l2_bytes": spec.cache.l2_bytes,
        "l3_bytes": spec.cache.l3_bytes,
    }
    present = [(key, size) for key, size in levels.items() if size]
    for (inner, inner_bytes), (outer, outer_bytes) in pairwise(present):
        if inner_bytes > outer_bytes:
            raise _disagree(
                spec,
                f"[cache] {inner} is {inner_bytes:,} and {outer} is {outer_bytes:,}",
                "a cache level is at least as large as the one inside it (0 means none)",
            )


def check_microcontroller_has_memory(spec: TargetSpec) -> None:
    if spec.family != "mcu":
        return
    kinds = {region.kind for region in spec.memory}
    for kind, what in (("ram", "the arena"), ("flash", "the code")):
        if kind not in kinds:
            raise _disagree(
                spec,
                f"family is `mcu` and there is no [memory.NAME] of kind `{kind}`",
                f"without an operating system {what} must lie in a named region",
            )


def check_regions_do_not_overlap(spec: TargetSpec) -> None:
    regions = sorted(spec.memory, key=lambda region: region.start_address)
    for first, second in pairwise(regions):
        first_end = first.start_address + first.size_bytes
        if first_end > second.start_address:
            raise _disagree(
                spec,
                f"[memory.{first.name}] and [memory.{second.name}] overlap",
                f"the first ends at {first_end:#x}, the second starts at {second.start_address:#x}",
            )


def check_limits_fit_regions(spec: TargetSpec) -> None:
    if not spec.memory:
        return
    size = {
        kind: sum(region.size_bytes for region in spec.memory if region.kind == kind)
        for kind in ("ram", "flash")
    }
    limits = spec.limits
    wanted = {
        "flash_bytes": (limits.flash_bytes or 0, size["flash"]),
        "ram_bytes + stack_bytes": (
            (limits.ram_bytes or 0) + (limits.stack_bytes or 0),
            size["ram"],
        ),
    }
    for key, (limit, available) in wanted.items():
        if limit > available:
            raise _disagree(
                spec,
                f"[limits] {key} is {limit:,}",
                f"its memory regions hold {available:,} bytes",
            )


def check_limits_are_positive(spec: TargetSpec) -> None:
    for key in type(spec.limits).__dataclass_fields__:
        value = getattr(spec.limits, key)
        if value is not None and value <= 0:
            raise _disagree(spec, f"[limits] {key} is {value}", "a limit is at least 1")


def check_runner_command(spec: TargetSpec) -> None:
    if spec.runner.kind == "emulator" and not spec.runner.command:
        raise _disagree(
            spec, "[runner] kind is `emulator` without `command`", "there is nothing to run"
        )
    if spec.runner.kind != "emulator" and spec.runner.command:
        raise _disagree(
            spec,
            f"[runner] kind is `{spec.runner.kind}` with a `command`",
            "the command would be ignored",
        )


def check_runner_board(spec: TargetSpec) -> None:
    runner = spec.runner
    keys = ("server", "tracker", "device_key", "timeout_s")
    given = {key: getattr(runner, key) for key in keys}
    if runner.kind != "rpc":
        for key, value in given.items():
            if value is not None:
                raise _disagree(
                    spec, f"[runner] kind is `{runner.kind}` with `{key}`", "it would be ignored"
                )
        return
    if spec.family != "cpu":
        raise _disagree(
            spec,
            f"[runner] kind is `rpc` and family is `{spec.family}`",
            "only libraries for processors with an operating system run in TVM's RPC server",
        )
    fault = address_fault(**given)
    if fault is not None:
        raise _disagree(spec, f"[runner] has {fault[0]}", fault[1])


def check_toolchain_has_a_compiler(spec: TargetSpec) -> None:
    if not spec.toolchain.cc:
        raise _disagree(spec, "[toolchain] cc is empty", "the library is linked by a C compiler")


def check_kernels_are_of_a_microcontroller(spec: TargetSpec) -> None:
    if spec.toolchain.kernels is not None and spec.family != "mcu":
        raise _disagree(
            spec,
            f"[toolchain] kernels is given and family is `{spec.family}`",
            "only kernels of a microcontroller can be made in more than one way",
        )


def check_vectors_have_llvm_kernels(spec: TargetSpec) -> None:
    if spec.has_llvm_kernels or spec.lanes(dtype_bits=32) == 1:
        return
    raise _disagree(
        spec,
        f"[vector] width_bits is {spec.vector.width_bits} and [toolchain] kernels is not `llvm`",
        "kernels in C99 have no vectors: there it is the width of a general register",
    )


def check_gpu_table_and_family(spec: TargetSpec) -> None:
    if (spec.family == "gpu") == (spec.gpu is not None):
        return
    if spec.gpu is None:
        raise _disagree(spec, "family is `gpu` and there is no [gpu]", "its facts are not known")
    raise _disagree(spec, f"family is `{spec.family}` with a [gpu]", "its facts would be ignored")


def check_gpu_host_has_linux(spec: TargetSpec) -> None:
    if spec.gpu is not None and "-linux-" not in spec.llvm.triple:
        raise _disagree(
            spec,
            f"family is `gpu` and [llvm] triple is `{spec.llvm.triple}`",
            "host programs for NVIDIA GPUs are made for Linux",
        )


def check_gpu_arch(spec: TargetSpec) -> None:
    if spec.gpu is not None and not re.fullmatch(r"sm_\d{2,3}", spec.gpu.arch):
        raise _disagree(
            spec, f"[gpu] arch is `{spec.gpu.arch}`", "nvcc calls architectures sm_80, sm_90"
        )


def check_gpu_counts(spec: TargetSpec) -> None:
    if spec.gpu is None:
        return
    for field in fields(spec.gpu):
        value = getattr(spec.gpu, field.name)
        if isinstance(value, int) and value <= 0:
            raise _disagree(spec, f"[gpu] {field.name} is {value}", "it must be at least 1")


def check_gpu_block_fits_its_sm(spec: TargetSpec) -> None:
    """A block runs on one multiprocessor, in whole warps, one register a thread at least."""
    if spec.gpu is None:
        return
    gpu = spec.gpu
    pairs = (
        ("shared_memory_per_block_bytes", "shared_memory_per_sm_bytes"),
        ("threads_per_block_count", "threads_per_sm_count"),
        ("threads_per_block_count", "registers_per_block_count"),
        ("registers_per_thread_count", "registers_per_block_count"),
        ("warp_threads_count", "threads_per_block_count"),
    )
    for part, whole in pairs:
        if getattr(gpu, part) > getattr(gpu, whole):
            raise _disagree(
                spec,
                f"[gpu] {part} is {getattr(gpu, part):,} and {whole} is {getattr(gpu, whole):,}",
                "the first is a part of the second",
            )
    if gpu.threads_per_block_count % gpu.warp_threads_count:
        raise _disagree(
            spec,
            f"[gpu] threads_per_block_count is {gpu.threads_per_block_count}",
            f"a block is whole warps of {gpu.warp_threads_count} threads",
        )


_CHECKS = (
    check_gpu_table_and_family,
    check_gpu_host_has_linux,
    check_gpu_arch,
    check_gpu_counts,
    check_gpu_block_fits_its_sm,
    check_counts_are_positive,
    check_powers_of_two,
    check_x86_cpu_is_known,
    check_aarch64_is_called_so,
    check_aarch64_cpu_is_known,
    check_riscv_has_an_abi,
    check_feature_flags,  # before the checks that apply the flags
    check_vector_width_has_its_feature,
    check_scalable_vectors_are_sve,
    check_x86_register_count,
    check_cache_levels_grow,
    check_microcontroller_has_memory,
    check_regions_do_not_overlap,
    check_limits_are_positive,
    check_limits_fit_regions,
    check_runner_command,
    check_runner_board,
    check_toolchain_has_a_compiler,
    check_kernels_are_of_a_microcontroller,
    check_vectors_have_llvm_kernels,
)


def _x86_features(spec: TargetSpec) -> frozenset[str]:
    return apply_feature_flags(X86_CPUS[spec.llvm.cpu], spec.llvm.features)


def _disagree(spec: TargetSpec, what: str, why: str) -> TargetError:
    return TargetError(
        f"target {spec.name}: {what}",
        why=why,
        fix="correct the number in the target's TOML file",
    )


def _not_in_table(spec: TargetSpec, what: str, word: str, known: Iterable[str]) -> TargetError:
    names = sorted(known)
    nearest = get_close_matches(word, names, n=1, cutoff=0.4)
    return TargetError(
        f"target {spec.name}: {what} is not known",
        why="the features that generated code needs could not be checked when it is loaded",
        fix=(f"did you mean `{nearest[0]}`? " if nearest else "") + f"known: {', '.join(names)}",
    )
