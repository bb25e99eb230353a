"""Carry convolutional parts of a graph in blocked layout, ``[N, C/B, H, W, B]``.

A convolution's sums lie in vectors of output channels; stored like that, neither the store nor the
next load has to turn them around. Blocked values live from one convolution to the next, through
everything that works on each element alone, pooling, resizing, concatenation and slices at borders
of blocks; what else reads one gets a plain copy, made once. The change of layout stands in the
graph, so it is fused, counted and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import tvm
from tvm import relax
from tvm.ir import IRModule

from compiler.onnx_import.to_relax import ONNX_NAMES
from compiler.stages.blocker import Blocker
from compiler.stages.constants import PackedConstants
from compiler.stages.conv2d_forms import Conv2dForm, Conv2dForms, conv2d_text
from compiler.stages.decisions import NO_CHOICES, Decider
from compiler.stages.largest_call import largest_call_bytes
from compiler.stages.layout_wishes import wanted_blocked
from compiler.stages.operators.conv2d_signature import Conv2dSignature, conv2d_signature
from compiler.stages.provenance import bindings, is_call_to
from compiler.target_spec import TargetSpec
from compiler.tuning.record import Choice

# Module attribute: variable name -> channels in a block, for variables in blocked layout.
BLOCKS = "tunesmith.blocks"


def block_layout(
    mod: IRModule,
    *,
    spec: TargetSpec,
    exact: bool = False,
    choices: Mapping[str, Choice] = NO_CHOICES,
    packed: PackedConstants | None = None,
    dtype: str = "float32",
) -> IRModule:
    """Return the module with convolutions and what stands between them in blocked layout.

    Sets `BLOCKS` and names the new variables after the same ONNX values.

    Args:
        exact: no Winograd: every convolution is a direct sum of products.
        choices: of records, by signature.
        packed: weights that were packed before, and those that are now.
        dtype: of products' factors, in signatures; "bfloat16" makes direct sums over blocked
            channels such products.
    """
    main, decider = mod["main"], Decider(choices)
    bfloats = dtype == "bfloat16"
    forms = Conv2dForms(
        spec=spec, exact=exact, arena_bytes=largest_call_bytes(main), bfloats=bfloats
    )
    variables: dict[Conv2dSignature | None, list[str]] = {}
    for binding in bindings(main):
        variables.setdefault(_convolution_signature(binding), []).append(binding.var.name)

    @cache
    def form(sig: Conv2dSignature) -> Conv2dForm:
        options = forms.options(sig)
        named = [option.choice for option in options]
        taken = decider.decide(
            conv2d_text(sig, dtype),
            named,
            variables=variables[sig],
            refused=partial(forms.refused, sig),
        )
        return options[named.index(taken)] if taken in named else forms.form(sig, taken)

    def reads_plain(sig: Conv2dSignature) -> bool:
        """With columns in lanes, or depthwise and plain by choice."""
        taken = form(sig)
        is_plain = sig.is_depthwise and taken.block != forms.default(sig).block
        return taken.vectors is not None or is_plain

    wanted = wanted_blocked(main, reads_plain)
    blocker = Blocker(mod, spec, form, packed or PackedConstants(), wanted, bfloats=bfloats)
    changed = blocker.visit_expr(main)
    out = blocker.builder_.get()
    out["main"] = changed
    return decider.noted(
        out.with_attr(ONNX_NAMES, tvm.runtime.convert(blocker.onnx_names)).with_attr(
            BLOCKS, tvm.runtime.convert(blocker.blocks)
        )
    )


def _convolution_signature(binding: relax.VarBinding) -> Conv2dSignature | None:
    is_convolution = is_call_to(binding.value, "relax.nn.conv2d")
    return conv2d_signature(binding.value) if is_convolution else None
