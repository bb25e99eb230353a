"""One scheduled PrimFunc to one `CompiledKernel`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.errors import LoweringError, UnsupportedError
from compiler.kernels import pair_rows, pair_sums
from compiler.kernels.bfloats import with_bfloat_functions
from compiler.kernels.elementary import expand_elementary
from compiler.kernels.in_place import in_place_pairs
from compiler.kernels.integer_sums import INTEGER_FUNCTIONS
from compiler.kernels.object_code import code_bytes, undefined_symbols
from compiler.kernels.overlapping_pointers import with_overlapping_pointers
from compiler.kernels.padded_copies import PAD_FUNCTION
from compiler.kernels.passes import lower_to_code, lower_to_loops
from compiler.kernels.phases import PhasedKernel, cut_into_phases
from compiler.kernels.plain_loops import as_phased_loops
from compiler.kernels.scalable_integer_sums import SCALABLE_INTEGER_FUNCTIONS
from compiler.kernels.scalable_sums import (
    DEPTHWISE_FUNCTION,
    HALF_DEPTHWISE_FUNCTION,
    HALF_SUMS_FUNCTION,
    OF_HALVES,
    SUMS_FUNCTION,
)
from compiler.kernels.tile_sums import TILE_FUNCTIONS
from compiler.program import CompiledKernel, KernelMemory, Phase, ScheduleOutcome
from compiler.tvm_target import without_scalable_vectors

# Calls that would need TVM's runtime library when the model runs.
_RUNTIME_CALLS = {
    "tirx.tvm_call_packed",
    "tirx.tvm_call_cpacked",
    "tirx.call_packed",
    "tirx.tvm_call_packed_lowered",
    "tirx.tvm_throw_last_error",
}
# What an object may ask of its environment: the C library's mathematics and memory functions.
_MEMORY_FUNCTIONS = {
    *("memcpy", "memset", "memmove"),
    *("bzero", "memset_pattern4", "memset_pattern8", "memset_pattern16"),  # of macOS only
}
# What an object may ask of the library's own runtime.
RUNTIME_FUNCTIONS = frozenset(
    {
        *(DEPTHWISE_FUNCTION, PAD_FUNCTION, SUMS_FUNCTION),
        *(HALF_DEPTHWISE_FUNCTION, HALF_SUMS_FUNCTION, *OF_HALVES.values()),
        *INTEGER_FUNCTIONS,
        *SCALABLE_INTEGER_FUNCTIONS,
        *TILE_FUNCTIONS,
        *pair_rows.PROTOTYPES,
        *pair_sums.PROTOTYPES,
    }
)


def build_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    outcome: ScheduleOutcome,
    target: tvm.target.Target,
    scalable: bool = False,
) -> CompiledKernel:
    """Return machine code by LLVM for a scheduled kernel.

    Args:
        name: C identifier; symbols of the phases start with it.
        input_count: how many of the function's parameters are inputs; they come first.
        scalable: vectors have the length that the processor has.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library.
        LoweringError: TVM has no code for it.
    """
    kernel = lower_kernel(
        func, name=name, input_count=input_count, target=target, scalable=scalable
    )
    return kernel.compiled(name, outcome, llvm_object(kernel, name, target))


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweredKernel:
    """A kernel cut into phases, one function for each, ready for a code generator."""

    functions: IRModule  # by symbol
    phases: tuple[Phase, ...]
    memory: KernelMemory

    def compiled(
        self, name: str, outcome: ScheduleOutcome, code: bytes, *, prefix: str = ""
    ) -> CompiledKernel:
        """Return the kernel with its machine code, an object.

        Args:
            prefix: of the symbols that the object asks the library's runtime for.
        """
        needed = {symbol.removeprefix(prefix) for symbol in undefined_symbols(code)}
        needed -= _MEMORY_FUNCTIONS
        return CompiledKernel(
            name=name,
            phases=self.phases,
            memory=self.memory,
            schedule=outcome,
            object_code=code,
            code_bytes=code_bytes(code),
            libm_symbols=tuple(sorted(needed - RUNTIME_FUNCTIONS)),
            runtime_symbols=tuple(sorted(needed & RUNTIME_FUNCTIONS)),
        )


def lower_kernel(
    func: PrimFunc,
    *,
    name: str,
    input_count: int,
    target: tvm.target.Target,
    prefix: str = "",
    scalable: bool = False,
    in_order: bool = False,
) -> LoweredKernel:
    """Return the functions of a scheduled kernel.

    Args:
        prefix: of the symbols of its phases, before the kernel's name.
        scalable: as `build_kernel` has it.
        in_order: as `in_place_pairs` has it.

    Raises:
        UnsupportedError: the kernel needs TVM's runtime library.
        LoweringError: TVM cannot lower it.
    """
    refuse_runtime_calls(func, name)
    pairs = in_place_pairs(func, input_count, in_order=in_order)
    if pairs:  # the two pointers may be equal: a compiler must not be told otherwise
        func = func.without_attr("tirx.noalias")
    is_shared = target.kind.name == "llvm" and pairs != in_place_pairs(func, input_count)
    try:
        loops = lower_to_loops(func, without_scalable_vectors(target), scalable=scalable)
        kernel = cut_into_phases(as_phased_loops(loops))
        symbols = _symbols(prefix + name, kernel)
        functions = {
            GlobalVar(symbol): _phase_code(phase.func, is_shared).with_attr("global_symbol", symbol)
            for symbol, phase in zip(symbols, kernel.phases, strict=True)
        }
        lowered = lower_to_code(IRModule(functions), target)
    except Exception as cause:  # TVM's checks raise many kinds
        raise no_code(name, cause) from cause
    return LoweredKernel(
        functions=lowered,
        phases=tuple(
            Phase(symbol=symbol, extent=phase.extent)
            for symbol, phase in zip(symbols, kernel.phases, strict=True)
        ),
        memory=KernelMemory(
            scratch_bytes=kernel.scratch_bytes,
            worker_scratch_bytes=kernel.worker_scratch_bytes,
            in_place=pairs,
        ),
    )


def _phase_code(func: PrimFunc, is_shared: bool) -> PrimFunc:
    func = with_overlapping_pointers(func) if is_shared else func
    return with_bfloat_functions(expand_elementary(func))


def no_code(name: str, cause: Exception) -> LoweringError:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return LoweringError(
        f"no machine code can be made for kernel `{name}`",
        why=lines[-1] if lines else type(cause).__name__,
        fix="replace the operators in its name in the model, and report the model",
    )


def refuse_runtime_calls(func: PrimFunc, name: str) -> None:
    """Raise UnsupportedError if the kernel calls into TVM's runtime: it would not stand alone."""
    found: list[str] = []

    def look(call: tvm.ir.Call) -> None:
        operator = getattr(call.op, "name", "")
        if operator in _RUNTIME_CALLS or "packed" in operator:
            found.append(str(call.args[0]).strip('"') if call.args else operator)

    structural.structural_walk(func.body, (tvm.ir.Call, look))
    if found:
        raise UnsupportedError(
            f"kernel `{name}` calls `{found[0]}` of TVM's runtime library",
            why="a stand-alone library has no TVM at run time",
            fix="replace the operator in the model; `tunesmith inspect` lists what is supported",
        )


def _symbols(name: str, kernel: PhasedKernel) -> tuple[str, ...]:
    if len(kernel.phases) == 1:
        return (name,)
    return tuple(f"{name}_p{index}" for index in range(len(kernel.phases)))


def llvm_object(kernel: LoweredKernel, name: str, target: tvm.target.Target) -> bytes:
    """Return the object that LLVM makes of a kernel.

    Raises:
        UnsupportedError: TVM has no code for it.
    """
    try:
        built = tvm.get_global_func("target.build.llvm")(kernel.functions, target)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.o"
            built.write_to_file(str(path), "o")
            return path.read_bytes()
    except Exception as cause:  # TVM's checks raise many kinds
        raise no_code(name, cause) from cause
