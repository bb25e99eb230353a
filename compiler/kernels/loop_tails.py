"""Loops whose last iteration does less: it gets code of its own, and the others need no tests.

A schedule that splits 49 positions by 5 leaves a test around each of the 5 sums of a tile, inside
the loop over the input channels. Only the last tile needs them, and there each has one answer.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.variables import replaced
from schedules import match
from schedules.roles import TAIL

_renew_definitions = tvm_ffi.get_global_func("s_tir.RenewDefs")


def peel_tails(func: PrimFunc) -> PrimFunc:
    """Return the function with the last iteration of each outermost marked loop after the loop.

    before: for i in n, marked: if (c(i)): body
    after:  for i in n - 1, marked no more: if (c(i)): body;   if (c(n - 1)): body

    A loop that asks nothing of its variable stays. Loops inside keep their mark, so run it again,
    after simplification, for each level of marked loops.
    """

    def visit(loop: Any, mutator: Any) -> Any:
        if TAIL not in loop.annotations:
            return mutator.default_mutate(loop)
        if not _asks_of(loop.body, loop.loop_var) or int(loop.extent) < 2:
            return mutator.default_mutate(_serial(loop, loop.extent, loop.body))
        last = loop.min + loop.extent - 1
        tail = replaced(loop.body, loop.loop_var, last)
        return tirx.SeqStmt([_serial(loop, loop.extent - 1, loop.body), _with_own_names(tail)])

    return func.with_body(structural.structural_mutate(func.body, [(tirx.For, visit)]))


def _serial(loop: Any, extent: Any, body: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, extent, tirx.ForKind.SERIAL, body)


def _with_own_names(body: Any) -> Any:
    """The statement with new loop variables and buffers: each is defined once in a function."""
    return _renew_definitions(PrimFunc([], body)).body


def _asks_of(body: Any, variable: Any) -> bool:
    """Whether a test in the body depends on the variable."""
    tests: list[Any] = []
    structural.structural_walk(body, (tirx.IfThenElse, tests.append))
    return any(match.uses(test.condition, variable) for test in tests)
