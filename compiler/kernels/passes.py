"""The order of TIR passes between a schedule and a function of loops over flat buffers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

from compiler.kernels.bfloats import multiplies_bfloats, round_to_bfloats
from compiler.kernels.dot_steps import call_dot_steps
from compiler.kernels.half_loads import widen_by_integers
from compiler.kernels.integer_sums import call_integer_sums
from compiler.kernels.interleaved_copies import interleave_copies
from compiler.kernels.loop_tails import peel_tails
from compiler.kernels.packed_rounding import pack_rounded
from compiler.kernels.padded_copies import call_padded_copies
from compiler.kernels.pair_rows import call_pair_rows
from compiler.kernels.pair_sums import call_pair_sums
from compiler.kernels.scalable_integer_sums import (
    call_scalable_integer_sums,
    has_integer_sums,
)
from compiler.kernels.scalable_sums import call_half_sums, call_sums
from compiler.kernels.scalable_vectors import vectorize_scalable
from compiler.kernels.started_sums import start_sums
from compiler.kernels.tile_sums import call_tile_sums
from compiler.kernels.vector_tails import split_vector_tails
from compiler.tvm_target import is_avx2, is_x86, widens_halves

# For vectors of a length that only the processor knows, in place of TVM's own.
_SCALABLE = (call_sums, call_scalable_integer_sums, call_padded_copies, vectorize_scalable)


def _pass(rewrite: Callable[[PrimFunc], PrimFunc], name: str = "") -> Any:
    """A function's rewriting as a pass of TVM."""
    name = name or rewrite.__name__

    def run(func: PrimFunc, mod: IRModule, context: object) -> PrimFunc:
        del mod, context
        return rewrite(func)

    return tirx.transform.prim_func_pass(run, opt_level=0, name=f"tunesmith.{name}")


def _pack_rounded(target: tvm.target.Target) -> Any:
    return _pass(update_wrapper(partial(pack_rounded, by_halves=is_avx2(target)), pack_rounded))


def lower_to_loops(
    func: PrimFunc, target: tvm.target.Target, *, scalable: bool = False
) -> PrimFunc:
    """Return the scheduled function without blocks: loops, flat buffers, vector accesses.

    The order is TVM's own for CPUs, up to where it would make a packed-argument function.

    Args:
        scalable: vector loops become plain ones, which LLVM vectorizes for any length, but for
            kernels with sums of small integers by the runtime.
    """
    tir, blocks = tirx.transform, s_tir.transform
    known_length = not scalable or has_integer_sums(func)
    is_c = target.kind.name == "c"
    vectors = known_length and not is_c  # C has none: its compiler makes them
    by_instructions = multiplies_bfloats(func)
    passes = [
        tir.BindTarget(target),
        blocks.CanonicalizeLoop(),
        blocks.LowerInitBlock(),
        blocks.PlanAndUpdateBufferAllocationLocation(),
        blocks.ConvertBlocksToOpaque(),
        blocks.CompactBufferAllocation(),
        blocks.LowerMatchBuffer(),
        blocks.StmtSimplify(),
        blocks.AnnotateIrregularLoop(),
        blocks.LowerOpaqueBlock(),
        tir.FlattenBuffer(),
        *([] if by_instructions else [tir.BF16ComputeLegalize()]),
        tir.NarrowDataType(32),
        blocks.LoopPartition(),
        *2 * [_pass(peel_tails), tir.StmtSimplify()],  # chunks of tiles, tiles
        _pass(call_dot_steps),
        _pass(interleave_copies),
        _pass(call_integer_sums),
        _pass(call_tile_sums),
        _pass(partial(call_half_sums, last=not (scalable or is_c)), "call_half_sums"),
        *map(_pass, _SCALABLE if scalable else ()),
        *([_pass(call_pair_sums), _pass(call_pair_rows)] if is_c else []),
        *([_pass(split_vector_tails)] if vectors else []),
        *([] if widens_halves(target) else [_pass(widen_by_integers)]),
        tir.VectorizeLoop(vectors),
        *([_pass(round_to_bfloats)] if by_instructions else []),
        *([_pack_rounded(target)] if vectors and is_x86(target) else []),
        tir.StorageRewrite(),
        blocks.HoistIfThenElse(),
        tir.UnrollLoop(),
        blocks.RenormalizeSplitPattern(),
        tir.StmtSimplify(),
        tir.RemoveNoOp(),
        *([_pass(start_sums)] if vectors and is_x86(target) else []),
        blocks.RewriteUnsafeSelect(),
        tir.CommonSubexprElim(),
    ]
    mod = IRModule({GlobalVar("kernel"): func.with_attr("global_symbol", "kernel")})
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(mod)["kernel"]


def lower_to_code(mod: IRModule, target: tvm.target.Target) -> IRModule:
    """Lower what is left before code generation: storage of small floats, intrinsics."""
    tir = tirx.transform
    passes = [
        tir.BF16StorageLegalize(),
        tir.LowerTVMBuiltin(),
        tir.LowerIntrin(),
    ]
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(mod)
