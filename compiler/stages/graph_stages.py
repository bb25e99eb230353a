"""The order of the graph's stages, top to bottom."""

from __future__ import annotations

from functools import partial

from tvm import relax
from tvm.relax.backend import DispatchSortScan

from compiler.stages.attention import fuse_attention
from compiler.stages.batch_norm import fold_batch_norm
from compiler.stages.block_layout import block_layout
from compiler.stages.broadcasts import keep_sums_apart
from compiler.stages.channel_moves import join_channel_moves
from compiler.stages.clamp_indices import clamp_indices
from compiler.stages.divisions import multiply_by_reciprocals
from compiler.stages.fold_constants import fold_constants
from compiler.stages.legalize import legalize
from compiler.stages.provenance import record_groups, separate_calls
from compiler.stages.stage import Stage
from compiler.stages.widen_conv1d import widen_conv1d
from compiler.target_spec import TargetSpec

FUSE_OPT_LEVEL = 2  # fuse through injective chains; 1 would fuse nothing but epilogues


def graph_stages(spec: TargetSpec, *, exact: bool = False) -> tuple[Stage, ...]:
    """Relax graph as imported -> fused kernels in ``call_tir`` form, not yet scheduled.

    Args:
        exact: only algorithms that sum the products of the model's own numbers.
    """
    if spec.family == "gpu":
        return gpu_graph_stages(spec)
    transform = relax.transform
    return (
        Stage("fold-batch-norm", fold_batch_norm),  # decomposed, it would divide each element
        Stage("decompose-ops", transform.DecomposeOpsForInference()),
        Stage("fold-constants", fold_constants),  # weights as arrays: legalize packs them
        Stage("canonicalize", transform.CanonicalizeBindings()),
        Stage("multiply-by-reciprocals", multiply_by_reciprocals),  # its constants are known now
        Stage("eliminate-common", transform.EliminateCommonSubexpr()),
        Stage("clamp-indices", clamp_indices),
        Stage("dispatch-sort-scan", DispatchSortScan()),  # cumsum has no other lowering
        Stage("join-channel-moves", join_channel_moves),  # before layouts: it copies plain data
        Stage("eliminate-dead", transform.DeadCodeElimination()),
        Stage("widen-conv1d", widen_conv1d),  # block-layout knows images only
        Stage("block-layout", partial(block_layout, spec=spec, exact=exact)),
        Stage("fuse-attention", partial(fuse_attention, spec=spec)),
        Stage("legalize", partial(legalize, spec=spec)),
        *fusion_stages(),
    )


def gpu_graph_stages(spec: TargetSpec) -> tuple[Stage, ...]:
    """The same for a GPU: values stay in ONNX's layout, since threads read where lanes load."""
    transform = relax.transform
    return (
        Stage("fold-batch-norm", fold_batch_norm),
        Stage("decompose-ops", transform.DecomposeOpsForInference()),
        Stage("fold-constants", fold_constants),
        Stage("canonicalize", transform.CanonicalizeBindings()),
        Stage("multiply-by-reciprocals", multiply_by_reciprocals),
        Stage("eliminate-common", transform.EliminateCommonSubexpr()),
        Stage("clamp-indices", clamp_indices),
        Stage("dispatch-sort-scan", DispatchSortScan()),
        Stage("join-channel-moves", join_channel_moves),
        Stage("eliminate-dead", transform.DeadCodeElimination()),
        Stage("widen-conv1d", widen_conv1d),  # the rules for convolutions know images only
        Stage("legalize", partial(legalize, spec=spec)),
        *fusion_stages(),
    )


def fusion_stages() -> tuple[Stage, ...]:
    """Operators in ``call_tir`` form -> fused kernels, for every family."""
    transform = relax.transform
    return (
        Stage("fold-calls", transform.FoldConstant()),  # what became constant only now
        Stage("eliminate-dead-calls", transform.DeadCodeElimination()),
        Stage("annotate-op-pattern", transform.AnnotateTIROpPattern()),
        Stage("separate-calls", separate_calls),  # names carry provenance through fusion
        Stage("keep-sums-apart", keep_sums_apart),  # a sum is computed once, not for each reader
        Stage("fuse-ops", transform.FuseOps(fuse_opt_level=FUSE_OPT_LEVEL)),
        Stage("record-groups", record_groups),
        Stage("fuse-tir", transform.FuseTIR()),
        Stage("eliminate-unfused", transform.DeadCodeElimination()),
        Stage("reshape-as-view", transform.RewriteDataflowReshape()),
        Stage("leave-dataflow", transform.ToNonDataflow()),
        Stage("drop-purity", transform.RemovePurityChecking()),
        Stage("canonicalize-calls", transform.CanonicalizeBindings()),
    )
