"""The whole text of a kernel that a choice changed."""

from __future__ import annotations

from collections.abc import Callable

from tests import choice_models
from tests.blocked_models import chain_model
from tests.lowered import apply_rule, loaded


def test_narrow_blocks(golden: Callable[[str], None]) -> None:
    """The kernel of `test_blocked_texts.test_blocked`, with a result in blocks of 4."""
    model = loaded(chain_model())
    signature = "conv2d float32 1x8x4x4 8x8x1x1 strides 1,1 pads 0,0,0,0 groups 1"
    choices = {signature: {"algorithm": "direct", "block": 4}}
    graph = choice_models.lowered(choices, model=model)
    (decision,) = (one for one in graph.decisions if one.signature == signature)
    assert decision.taken == choices[signature]
    functions = list(graph.workloads.functions.values())
    schedule = apply_rule("conv2d", functions[2])
    assert schedule is not None
    golden(schedule.mod["main"].script())
