"""Constants in Relax expressions: read, and packed anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst


def constant_array(expression: Any) -> np.ndarray | None:
    """Return the array of a Relax constant, None for anything that is computed."""
    if not isinstance(expression, GenericConst):
        return None
    return np.asarray(expression.value.numpy())


class PackedConstants:
    """Packed forms of constants, each made once, however often a graph with them is lowered."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, Hashable, str | None], Any] = {}

    def get(
        self,
        constant: Any,
        form: Hashable,
        pack: Callable[[], np.ndarray],
        dtype: str | None = None,
    ) -> relax.Expr:
        """Return the constant that `pack` makes of `constant`; `form` says what that depends on.

        Args:
            dtype: what its numbers are rounded to; None if they stay as they are.
        """
        key = (constant, form, dtype)
        if key not in self._made:
            self._made[key] = relax.const(pack(), dtype)
        return self._made[key]
