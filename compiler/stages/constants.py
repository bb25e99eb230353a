"""Reading constants out of Relax expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.ir import GenericConst


def constant_array(expression: Any) -> np.ndarray | None:
    """Return the array of a Relax constant, None for anything that is computed."""
    if not isinstance(expression, GenericConst):
        return None
    return np.asarray(expression.value.numpy())
