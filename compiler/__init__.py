"""Tunesmith: from an ONNX file to a checked stand-alone library.

The public names are loaded on first use, so that ``import compiler`` and ``compiler.load`` need
neither TVM nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.errors import CompilerError as CompilerError
    from compiler.library import Library as Library
    from compiler.library import load as load
    from compiler.measure.bench import bench as bench
    from compiler.measure.compare import compare as compare
    from compiler.measure.kernel_list import list_kernels as list_kernels
    from compiler.measure.profile import profile as profile
    from compiler.measure.roofline import roofline as roofline
    from compiler.pipeline import compile as compile
    from compiler.quantization.quantize import quantize as quantize
    from compiler.tuner.tune import tune as tune
    from compiler.verify import verify as verify

_HOMES = {
    "CompilerError": "compiler.errors",
    "Library": "compiler.library",
    "bench": "compiler.measure.bench",
    "compare": "compiler.measure.compare",
    "compile": "compiler.pipeline",
    "list_kernels": "compiler.measure.kernel_list",
    "load": "compiler.library",
    "profile": "compiler.measure.profile",
    "quantize": "compiler.quantization.quantize",
    "roofline": "compiler.measure.roofline",
    "tune": "compiler.tuner.tune",
    "verify": "compiler.verify",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compiler' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
