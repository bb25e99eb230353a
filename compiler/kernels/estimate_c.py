"""What a kernel for a microcontroller will need, without writing or compiling its C.

Scratch and places in place are those of the build. Code and instructions follow from counts
(`kernels/work.py`) by factors that were fitted to the C of the models in ``tests/models``:
GCC 12, -O2, all microcontrollers in ``target_specs``; instructions as QEMU counts them.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import tvm
from tvm.tirx import PrimFunc

from compiler.kernels.build import lower_kernel
from compiler.kernels.work import KernelWork, work_of
from compiler.program import CompiledKernel, ScheduleOutcome
from compiler.target_spec import TargetSpec
from compiler.tvm_target import has_llvm_feature

_LOOP_BYTES, _OPERATION_BYTES = 46.0, 5.1
# Without an FPU each operation is a call; RISC-V's code for that is longer than Thumb's.
_SOFT_THUMB_FACTOR, _RISCV_FACTOR = 1.4, 2.1
CODE_ERROR = 0.25  # of a model's code; tests/unit/test_estimate.py holds it to that
# An operation takes one instruction and its share of loads. A call rounds, in quantized models:
# a function of libm, or since Armv8's FPU little more than one instruction.
_OPERATION_INSTRUCTIONS = 1.1
_CALL_INSTRUCTIONS = {False: 25.0, True: 3.0}
_FPU, _ROUNDING_FPU, _VECTORS = "vfp4d16sp", "fp-armv8d16sp", "mve"
INSTRUCTION_ERROR = 0.25  # of a run's


def estimate_c_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    works: MutableMapping[str, KernelWork],
    code_factor: float = 1.0,
    in_order: bool = False,
) -> CompiledKernel:
    """Return a scheduled kernel without code, but for how many bytes of it there will be.

    Args:
        works: the kernel's counts are put there.
        code_factor: of the target, `code_factor`.
        in_order: as `in_place.in_place_pairs` has it.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library, or TVM cannot lower it.
    """
    kernel = lower_kernel(
        func, name=name, input_count=input_count, target=target, in_order=in_order
    )
    extents = {phase.symbol: phase.extent for phase in kernel.phases}
    work = sum(
        (
            work_of(phase_func.body, extents[str(gvar.name_hint)])
            for gvar, phase_func in kernel.functions.functions_items()
        ),
        KernelWork(),
    )
    works[name] = work
    code_bytes = _LOOP_BYTES * work.loops + _OPERATION_BYTES * work.operations
    return CompiledKernel(
        name=name,
        phases=kernel.phases,
        memory=kernel.memory,
        schedule=outcome,
        object_code=b"",
        code_bytes=round(code_factor * code_bytes),
        runtime_symbols=tuple(sorted(work.runtime_functions)),
    )


def code_factor(spec: TargetSpec) -> float:
    """Return how much larger code is than on a Thumb processor with an FPU."""
    if spec.llvm.architecture.startswith("riscv"):
        return _RISCV_FACTOR
    return 1.0 if has_llvm_feature(spec, _FPU) else _SOFT_THUMB_FACTOR


def run_instructions(work: KernelWork, spec: TargetSpec) -> int | None:
    """Return the instructions of a run, None where the factors do not hold.

    Nor do they where functions of the runtime sum small integers: nothing of that is in the TIR.

    That is without an FPU, where every operation is a function of the compiler's library, and with
    vectors (Helium), which the compiler finds in some loops and not in others.
    """
    if (
        work.runtime_functions
        or not has_llvm_feature(spec, _FPU)
        or has_llvm_feature(spec, _VECTORS)
    ):
        return None
    call = _CALL_INSTRUCTIONS[has_llvm_feature(spec, _ROUNDING_FPU)]
    return round(_OPERATION_INSTRUCTIONS * work.run_operations + call * work.run_calls)
