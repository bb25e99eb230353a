"""The order of the graph's stages, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tvm import relax
from tvm.ir import IRModule
from tvm.relax.backend import DispatchSortScan

from compiler.onnx_import.model import Weights
from compiler.stages.attention import fuse_attention
from compiler.stages.batch_norm import fold_batch_norm
from compiler.stages.block_layout import block_layout
from compiler.stages.broadcasts import keep_sums_apart
from compiler.stages.channel_moves import join_channel_moves
from compiler.stages.clamp_indices import clamp_indices
from compiler.stages.constants import PackedConstants
from compiler.stages.decisions import NO_CHOICES
from compiler.stages.divisions import multiply_by_reciprocals
from compiler.stages.fold_constants import fold_constants
from compiler.stages.half_products import half_products
from compiler.stages.half_weights import half_weights
from compiler.stages.integer_graph import integer_graph
from compiler.stages.joins import keep_joins_apart
from compiler.stages.legalize import legalize, legalize_for_gpu
from compiler.stages.normalizations import join_normalizations
from compiler.stages.provenance import record_groups, separate_calls
from compiler.stages.stage import Stage
from compiler.stages.widen_conv1d import widen_conv1d
from compiler.target_spec import Precision, TargetSpec
from compiler.tuning.record import Choice

# Sums that share each input that is loaded, where a register holds one number: with 4 positions
# 16 registers hold sums; a matrix has one row often, and 8 columns then make the most of an input.
SCALAR_CHANNELS, SCALAR_COLUMNS = 4, 8
# Precisions whose factors' type is one of its own.
_FACTORS: Mapping[Precision, str] = {"fp16": "float16", "bf16": "bfloat16"}
FUSE_OPT_LEVEL = 2  # fuse through injective chains; 1 would fuse nothing but epilogues


def graph_stages(
    spec: TargetSpec,
    *,
    exact: bool = False,
    weights: Weights = "model",
    precision: Precision = "float32",
    joins_apart: bool = True,
    choices: Mapping[str, Choice] = NO_CHOICES,
    packed: PackedConstants | None = None,
) -> tuple[Stage, ...]:
    """Relax graph as imported -> fused kernels in ``call_tir`` form, not yet scheduled.

    Args:
        exact: only algorithms that sum the products of the model's own numbers.
        weights: "fp16" also is without Winograd, whose transformed weights are no halves.
        precision: "fp16" lays the graph out for products of halves, "bf16" has those of bfloat16.
        joins_apart: concatenations that can be made in place are not fused.
        choices: of records, by signature (`decisions`); what is not named is decided by estimates.
        packed: weights as an earlier call for the same module has packed them.
    """
    exact = exact or weights == "fp16"
    lanes = spec.lanes(dtype_bits=32)
    layout, legalizer = spec, partial(legalize, lanes=lanes, bfloats=precision == "bf16")
    products: tuple[Stage, ...] = ()
    if precision == "fp16":
        layout = spec.with_half_products()
        block = layout.lanes(dtype_bits=32)
        legalizer = partial(legalize, lanes=lanes, conv_lanes=block, matmul_lanes=block)
        products = (Stage("half-products", half_products),)
    return (
        *_model_stages(spec),
        Stage(
            "block-layout",
            partial(
                block_layout,
                spec=layout,
                exact=exact,
                choices=choices,
                packed=packed,
                dtype=_FACTORS.get(precision, "float32"),
            ),
            decides=True,
        ),
        Stage("fuse-attention", partial(fuse_attention, spec=spec, choices=choices), decides=True),
        *_kernel_stages(legalizer, joins_apart, choices),
        *products,
        *_weights_stages(weights),
    )


def mcu_graph_stages(
    spec: TargetSpec,
    *,
    weights: Weights = "model",
    joins_apart: bool = True,
    choices: Mapping[str, Choice] = NO_CHOICES,
    packed: PackedConstants | None = None,
) -> tuple[Stage, ...]:
    """The like for microcontrollers: every sum is direct, attention is not fused.

    Without vectors a block is one channel, so that all values stay plain.
    """
    lanes = spec.lanes(dtype_bits=32)
    legalizer = partial(legalize, lanes=lanes, by_scalar=spec.vector.multiplies_by_scalar)
    if lanes == 1:
        legalizer = partial(
            legalize, lanes=1, conv_lanes=SCALAR_CHANNELS, matmul_lanes=SCALAR_COLUMNS
        )
    return (
        *_model_stages(spec),
        Stage(
            "block-layout",
            partial(block_layout, spec=spec, exact=True, choices=choices, packed=packed),
            decides=True,
        ),
        *_kernel_stages(legalizer, joins_apart, choices),
        *_weights_stages(weights),
    )


def gpu_graph_stages(
    spec: TargetSpec,
    *,
    precision: Precision = "float32",
    joins_apart: bool = True,
    choices: Mapping[str, Choice] = NO_CHOICES,
    packed: PackedConstants | None = None,
) -> tuple[Stage, ...]:
    """The like for a GPU: values stay in ONNX's layout, since each thread loads for itself.

    Concatenations are kernels there, whatever `joins_apart` says, and no stage has `choices`.

    Args:
        precision: what tensor cores multiply; float32 uses none.
    """
    assert spec.gpu is not None, spec.name
    del packed
    legalizer = partial(legalize_for_gpu, gpu=spec.gpu, precision=precision)
    return (*_model_stages(spec), *_kernel_stages(legalizer, joins_apart, choices))


def _model_stages(spec: TargetSpec | None = None) -> tuple[Stage, ...]:
    """What holds for every machine; without a spec quantized operators stay float."""
    transform = relax.transform
    integers: tuple[Stage, ...] = ()
    if spec is not None:
        integers = (
            # Before constants are folded: it needs the stored weights, not what they are worth.
            Stage("integer-graph", partial(integer_graph, spec=spec)),
            Stage("eliminate-float", transform.DeadCodeElimination()),
        )
    return (
        Stage("fold-batch-norm", fold_batch_norm),  # decomposed, it would divide each element
        Stage("decompose-ops", transform.DecomposeOpsForInference()),
        *integers,
        Stage("fold-constants", fold_constants),  # weights as arrays: legalize packs them
        Stage("canonicalize", transform.CanonicalizeBindings()),
        Stage("join-normalizations", join_normalizations),  # its constants are arrays now
        Stage("multiply-by-reciprocals", multiply_by_reciprocals),  # its constants are known now
        Stage("eliminate-common", transform.EliminateCommonSubexpr()),
        Stage("clamp-indices", clamp_indices),
        Stage("dispatch-sort-scan", DispatchSortScan()),  # cumsum has no other lowering
        Stage("join-channel-moves", join_channel_moves),  # before layouts: it copies plain data
        Stage("eliminate-dead", transform.DeadCodeElimination()),
        Stage("widen-conv1d", widen_conv1d),  # block-layout knows images only
    )


def _kernel_stages(
    legalizer: Callable[[IRModule], IRModule], joins_apart: bool, choices: Mapping[str, Choice]
) -> tuple[Stage, ...]:
    """Operators -> fused kernels."""
    transform = relax.transform
    # They vanish when nothing is fused with them.
    keep_apart = partial(keep_joins_apart, choices=choices)
    joins = (Stage("keep-joins-apart", keep_apart, decides=True),) if joins_apart else ()
    return (
        Stage("legalize", legalizer),
        Stage("fold-calls", transform.FoldConstant()),  # what became constant only now
        Stage("eliminate-dead-calls", transform.DeadCodeElimination()),
        Stage("annotate-op-pattern", transform.AnnotateTIROpPattern()),
        Stage("separate-calls", separate_calls),  # names carry provenance through fusion
        Stage("keep-sums-apart", keep_sums_apart),  # a sum is computed once, not for each reader
        *joins,
        Stage("fuse-ops", transform.FuseOps(fuse_opt_level=FUSE_OPT_LEVEL)),
        Stage("record-groups", record_groups),
        Stage("fuse-tir", transform.FuseTIR()),
        Stage("eliminate-unfused", transform.DeadCodeElimination()),
        Stage("reshape-as-view", transform.RewriteDataflowReshape()),
        Stage("leave-dataflow", transform.ToNonDataflow()),
        Stage("drop-purity", transform.RemovePurityChecking()),
        Stage("canonicalize-calls", transform.CanonicalizeBindings()),
    )


def _weights_stages(weights: Weights) -> tuple[Stage, ...]:
    """Last of all: what packing and folding make of weights is known, and no stage reads halves."""
    return (Stage("half-weights", half_weights),) if weights == "fp16" else ()
