"""The order of TIR passes between a schedule with bound threads and device functions."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.ir import IRModule


def lower_to_launches(mod: IRModule, target: tvm.target.Target) -> IRModule:
    """Return host functions that launch, and the device functions that they launch.

    The order is TVM's own for GPUs, without what only asynchronous copies and tensor cores need,
    up to where it would make packed-argument functions.
    """
    tir, blocks = tirx.transform, s_tir.transform
    passes = [
        tir.BindTarget(target),
        blocks.CanonicalizeLoop(),
        blocks.LowerCrossThreadReduction(),
        blocks.LowerInitBlock(),
        blocks.PlanAndUpdateBufferAllocationLocation(),
        blocks.ConvertBlocksToOpaque(),
        blocks.LiftThreadBinding(),
        blocks.CompactBufferAllocation(),
        blocks.UnifyThreadBinding(),
        blocks.LowerMatchBuffer(),
        blocks.StmtSimplify(),
        blocks.AnnotateIrregularLoop(),
        blocks.LowerOpaqueBlock(),
        tir.FlattenBuffer(),
        tir.BF16ComputeLegalize(),
        tir.NarrowDataType(32),
        blocks.LoopPartition(),
        tir.VectorizeLoop(True),
        tir.StorageRewrite(),
        blocks.HoistIfThenElse(),
        tir.UnrollLoop(),
        blocks.RenormalizeSplitPattern(),
        tir.StmtSimplify(),
        tir.RemoveNoOp(),
        blocks.RewriteUnsafeSelect(),
        tir.CommonSubexprElim(),
        tir.VerifyMemory(),  # nothing outside a thread touches device memory
        tir.AnnotateEntryFunc(),
        blocks.ThreadSync("shared"),
        blocks.MergeSharedMemoryAllocations(),
        tir.SplitHostDevice(),
    ]
    # nvcc unrolls what is marked so; written out here, a tile would be a thousand statements.
    config = {"tirx.UnrollLoop": {"explicit_unroll": False}}
    with target, tvm.transform.PassContext(opt_level=3, config=config):
        return tvm.transform.Sequential(passes)(mod)


def lower_to_device_code(mod: IRModule, target: tvm.target.Target) -> IRModule:
    """Lower what is left of device functions before code generation."""
    tir = tirx.transform
    passes = [tir.BF16StorageLegalize(), tir.StmtSimplify(), tir.LowerIntrin()]
    with target, tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(mod)
