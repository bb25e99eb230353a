"""AMX-INT8 on processors without it: the runtime's file is compiled with instructions in C.

Everything else of a kernel is as the compiler made it for such a processor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compiler.artifact import link
from compiler.target_spec import LlvmSpec, TargetSpec, load_target

HEADERS = Path(__file__).parent / "c" / "emulated_amx"
FLAGS = ("-march=x86-64", f"-I{HEADERS}")


def emulate_amx(monkeypatch: pytest.MonkeyPatch) -> TargetSpec:
    """The target with the instructions of this machine, its kernels scheduled as if it had more."""
    monkeypatch.setattr(LlvmSpec, "multiplies_tiles", property(lambda _: True))
    monkeypatch.setitem(link._ABOVE_BASELINE, "amx_sums.c", FLAGS)
    return replace(load_target("sapphire-rapids"), llvm=load_target("x86-64-v3").llvm)
