"""What the cost model sees of a candidate: its decisions, and facts of its task, as numbers."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from compiler.tuner.space import Point, Space
from compiler.tuner.tasks import TaskFacts
from compiler.tuner.trial import TuningTask

# Raise it when a column changes its meaning: a kept model would be asked about other things.
FEATURES_VERSION = 1

_DRAWS = 12  # the first of a candidate; further ones are not seen
_FACTORS = 4  # of a loop, the innermost
_OF_A_DRAW = _FACTORS + 1
_EXTENTS = 5  # of the output, the last
_RULE_BITS = 12


def features(space: Space, point: Point, task: TuningTask, facts: TaskFacts) -> np.ndarray:
    """Return one row of float32; what a candidate does not have is NaN.

    Decisions are logarithms (of tile sizes and the like): that one tile is twice another is what
    counts. How far each is from the default's says more across tasks than itself.
    """
    row = np.full(_DRAWS * _OF_A_DRAW + 1, np.nan, dtype=np.float32)
    default = space.default if point.sketch == 0 else point
    total = 0.0
    draws = space.draws(point.sketch)[:_DRAWS]
    for number, (draw, made) in enumerate(zip(draws, point.decisions, strict=False)):
        first = number * _OF_A_DRAW
        logs = _logs(draw, made)
        row[first : first + len(logs)] = logs
        row[first + _FACTORS] = logs[0] - _logs(draw, default.decisions[number])[0]
        total += logs[0]
    row[-1] = total  # of innermost tiles: the logarithm of their product
    return np.concatenate([row, _task_row(task, facts, point.sketch)])


def feature_names() -> tuple[str, ...]:
    """What each number of `features` is, for a reader of the cost model."""
    names = []
    for draw in range(1, _DRAWS + 1):
        names += [f"draw {draw}, factor {factor} from inside" for factor in range(1, _FACTORS + 1)]
        names.append(f"draw {draw}, innermost beside the default's")
    names.append("product of innermost tiles")
    names += [f"output axis {axis} from inside" for axis in range(1, _EXTENTS + 1)]
    names += ["multiply-accumulates", "bytes read", "bytes written", "sketch"]
    return (*names, *(f"operators, bit {bit}" for bit in range(_RULE_BITS)))


def _logs(draw: Any, decision: Any) -> list[float]:
    """Logarithms of what a decision stands for, the innermost factor first."""
    known = decision in draw.choices
    value = draw.values[draw.choices.index(decision)] if known else decision
    if draw.kind == "SamplePerfectTile":
        return [math.log2(factor) for factor in reversed(value)][:_FACTORS]
    if draw.kind == "SampleCategorical":
        return [math.log2(max(value, 0) + 1)]  # 0 is a choice of unrolled steps
    return [float(value)]


def _task_row(task: TuningTask, facts: TaskFacts, sketch: int) -> np.ndarray:
    extents = [math.log2(extent) for extent in reversed(facts.output_shape)][:_EXTENTS]
    extents += [math.nan] * (_EXTENTS - len(extents))
    sizes = [task.macs + 1, facts.read_bytes + 1, facts.written_bytes + 1]
    return np.array(
        [*extents, *map(math.log2, sizes), float(sketch), *_bits(operators(task.kernel))],
        dtype=np.float32,
    )


def _bits(text: str) -> list[float]:
    """A few bits of a text's hash: equal texts are equal, others mostly differ."""
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return [float(digest >> bit & 1) for bit in range(_RULE_BITS)]


def operators(kernel: str) -> str:
    """Return what a kernel computes, without type and shape: ``conv2d_relu``."""
    for dtype in ("float32", "float16", "uint8", "int8", "int32", "int64", "bool"):
        head, found, _ = kernel.partition(f"_{dtype}_")
        if found:
            return head
    return kernel
