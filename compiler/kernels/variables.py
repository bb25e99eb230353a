"""Putting something in the place of a variable."""

from __future__ import annotations

from typing import Any

import tvm
from tvm_ffi import structural


def replaced(node: Any, variable: Any, value: Any) -> Any:
    """Return an expression or statement with `value` wherever it mentions the variable."""

    def visit(found: Any, mutator: Any) -> Any:
        del mutator
        return value if found.same_as(variable) else found

    return structural.structural_mutate(node, [(tvm.ir.Var, visit)])
