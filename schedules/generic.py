"""MetaSchedule's generic space, for kernels that no rule of ours knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import _ffi_api
from tvm.s_tir.meta_schedule.logging import get_logger, get_logging_func
from tvm.tirx import PrimFunc

from schedules.steps import PrimitiveError

# As MetaSchedule's own rules for CPUs have them.
_ITEMS_FOR_EACH_CORE = 16
_SEED = 1  # of what a sketch draws by itself
_UNROLLED_STEPS = (0, 16, 64, 512)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenericSketch:
    """A schedule with open decisions, and what makes a finished one of it."""

    schedule: Schedule
    finish: Callable[[Schedule], bool]  # in place; whether it could be done


def generic_sketches(func: PrimFunc, target: Any, *, lanes: int) -> list[GenericSketch]:
    """Return MetaSchedule's sketches of a kernel; none where its rules do not fit.

    Args:
        target: TVM's.
        lanes: the widest vector, of the kernel's elements.
    """
    mod = IRModule({"main": func.with_attr("global_symbol", "main")})
    generator = ms.space_generator.PostOrderApply(
        sch_rules=_rules(lanes), postprocs=_postprocs(), mutator_probs={}
    )
    context = _context(mod, target, generator)
    try:
        found = generator.generate_design_space(mod)
    except PrimitiveError:
        return []  # a rule of TVM does not fit this kernel: there is no generic space for it
    postprocs = generator.postprocs

    def finish(schedule: Schedule) -> bool:
        # The context owns what a postprocessor knows of the target.
        return context is not None and all(one.apply(schedule) for one in postprocs)

    return [GenericSketch(schedule=one, finish=finish) for one in found]


def _context(mod: IRModule, target: Any, generator: Any) -> Any:
    """What MetaSchedule's parts read the target and the seed from.

    TVM's own constructor in Python also parses every tensor intrinsic of every GPU: 30 s for
    nothing here. So its fields are filled as it does (tune_context.py of TVM 0.27).
    """
    context = ms.TuneContext.__new__(ms.TuneContext)
    log = get_logging_func(get_logger(__name__))
    context.__init_handle_by_constructor__(
        _ffi_api.TuneContext, mod, target, generator, None, "generic", 1, _SEED, log
    )
    _ffi_api.TuneContextInitialize(context)
    return context


def _rules(lanes: int) -> list[Any]:
    rule = ms.schedule_rule
    return [
        rule.AutoInline(
            into_producer=False,
            into_consumer=True,
            inline_const_tensor=True,
            disallow_if_then_else=True,
            require_injective=True,
            require_ordered=True,
            disallow_op=None,
        ),
        rule.AddRFactor(max_jobs_per_core=_ITEMS_FOR_EACH_CORE, max_innermost_factor=64),
        rule.MultiLevelTiling(
            structure="SSRSRS",
            tile_binds=None,
            max_innermost_factor=64,
            vector_load_lens=None,
            reuse_read=None,
            reuse_write=rule.ReuseType(req="may", levels=[1, 2], scope="global"),
        ),
        rule.ParallelizeVectorizeUnroll(
            max_jobs_per_core=_ITEMS_FOR_EACH_CORE,
            max_vectorize_extent=lanes,
            unroll_max_steps=list(_UNROLLED_STEPS),
            unroll_explicit=True,
        ),
        rule.RandomComputeLocation(),
    ]


def _postprocs() -> list[Any]:
    # Without RewriteLayout: weights were packed when the graph was lowered.
    postproc = ms.postproc
    return [
        postproc.DisallowDynamicLoop(),
        postproc.RewriteParallelVectorizeUnroll(),
        postproc.RewriteReductionBlock(),
    ]
