"""Stages of the graph: order, what they leave alone, and the runner's dumps and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import tvm
import tvm_ffi
from tvm.ir import IRModule

from compiler.errors import UnsupportedError
from compiler.onnx_import.to_relax import to_relax
from compiler.stages.graph_stages import graph_stages
from compiler.stages.stage import Stage, run_stages
from compiler.tvm_target import tvm_target
from tests.lowered import fixed_spec, loaded, staged
from tests.onnx_models import attention_model, conv_model, conv_net_model, qdq_model


@pytest.mark.parametrize("build", [conv_net_model, attention_model, qdq_model])
def test_stages_leave_their_module_as_it_was(build: Callable[[], onnx.ModelProto]) -> None:
    mod = to_relax(loaded(build()))
    target = tvm_target(fixed_spec())
    for stage in graph_stages(fixed_spec()):
        key, text = tvm_ffi.structural_hash(mod), mod.script(show_meta=True)
        context = tvm.transform.PassContext(opt_level=3, config={"testing.immutable_module": True})
        with target, context:
            result = stage.run(mod)
        assert tvm_ffi.structural_hash(mod) == key, stage.name
        assert mod.script(show_meta=True) == text, stage.name
        mod = result


def test_stage_names_are_unique() -> None:
    names = [stage.name for stage in graph_stages(fixed_spec())]
    assert len(set(names)) == len(names)


def test_each_stage_is_reported_and_dumped(tmp_path: Path) -> None:
    stages = graph_stages(fixed_spec())
    reported: list[str] = []
    run_stages(
        to_relax(loaded(conv_model())),
        stages,
        target=tvm_target(fixed_spec()),
        report=reported.append,
        dump_folder=tmp_path / "dumps",
    )
    assert reported == [stage.name for stage in stages]
    dumped = sorted(path.name for path in (tmp_path / "dumps").iterdir())
    assert dumped == [f"{number:02d}-{name}.py" for number, name in enumerate(reported)]
    assert "def main" in (tmp_path / "dumps" / dumped[-1]).read_text()


def test_stage_that_fails_is_named() -> None:
    def fail(mod: IRModule) -> IRModule:
        del mod
        raise RuntimeError("first line\n\nCheck failed: x == y")

    with pytest.raises(UnsupportedError) as error:
        run_stages(
            to_relax(loaded(conv_model())),
            [Stage("break-things", fail)],
            target=tvm_target(fixed_spec()),
            report=lambda _: None,
        )
    assert str(error.value).splitlines()[:2] == [
        "stage `break-things` cannot lower this model",
        "  why: Check failed: x == y",
    ]


def test_two_runs_give_the_same_module() -> None:
    read = loaded(conv_net_model())
    assert staged(read).script(show_meta=True) == staged(read).script(show_meta=True)
