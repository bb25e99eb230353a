"""The order of TIR passes between a schedule and a function of loops over flat buffers."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.ir import GlobalVar, IRModule
from tvm.tirx import PrimFunc

from compiler.kernels.vector_tails import split_vector_tails


def _split_tails(func: PrimFunc, mod: IRModule, context: object) -> PrimFunc:
    del mod, context
    return split_vector_tails(func)


def lower_to_loops(func: PrimFunc, target: tvm.target.Target) -> PrimFunc:
    """Return the scheduled function without blocks: loops, flat buffers, vector accesses.

    The order is TVM's own for CPUs, up to where it would make a packed-argument function.
    """
    tir, blocks = tirx.transform, s_tir.transform
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
        tir.BF16ComputeLegalize(),
        tir.NarrowDataType(32),
        blocks.LoopPartition(),
        tir.prim_func_pass(_split_tails, opt_level=0, name="tunesmith.SplitVectorTails"),
        tir.VectorizeLoop(True),
        tir.StorageRewrite(),
        blocks.HoistIfThenElse(),
        tir.UnrollLoop(),
        blocks.RenormalizeSplitPattern(),
        tir.StmtSimplify(),
        tir.RemoveNoOp(),
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
