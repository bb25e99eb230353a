"""A model that does not fit a board: what is tried, what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from onnx import helper

from compiler.errors import LimitError
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.target_spec import LimitsSpec, RunnerSpec, TargetSpec
from tests.bare_library import bare_artifact, host_mcu_spec
from tests.onnx_models import conv_net_model, make_model, save, weights

VWW_REFUSAL = """\
the model needs 221,184 bytes of RAM
  why: beside its stack board64 has 57,344 in sram; largest tensors: Relu__11:0 (147,456 bytes), \
model_1/activation_1/Relu;mo...ation_1/batchnorm/sub1__89:0 (110,592 bytes), \
Relu__5:0 (73,728 bytes); kernels that need most: \
Conv+Relu of model_1/activat...alization_2_1/batchnorm/sub1 (221,184 bytes), \
Conv+Relu of model_1/activat...rmalization_1/batchnorm/sub1 (187,812 bytes), \
Conv+Relu of model_1/activat...alization_3_1/batchnorm/sub1 (184,920 bytes); \
tried: the order of calls with the least memory, results in the place of inputs, \
padding one row at a time, code for size, without unrolled taps
  fix: use a target with more memory, a smaller input shape, or a smaller model"""


def board_with_ram(name: str, size_bytes: int, stack_bytes: int) -> TargetSpec:
    """host-mcu with less RAM, of which the stack has its part."""
    spec = host_mcu_spec()
    memory = tuple(
        replace(region, size_bytes=size_bytes) if region.kind == "ram" else region
        for region in spec.memory
    )
    limits = replace(spec.limits, ram_bytes=size_bytes - stack_bytes, stack_bytes=stack_bytes)
    return replace(spec, name=name, memory=memory, limits=limits)


@pytest.mark.slow
def test_vww_for_a_board_of_64_kb_is_refused_word_for_word(models: Path, tmp_path: Path) -> None:
    model = load_model(models / "mlperf_tiny_vww_mobilenetv1_f32.onnx")
    board = board_with_ram("board64", 65_536, 8_192)
    with pytest.raises(LimitError) as refused:
        compile_model(model, target=board, output=tmp_path / "out", verify="skip")
    assert str(refused.value) == VWW_REFUSAL
    assert not (tmp_path / "out").exists()


DEPTHWISE = make_model(
    [helper.make_node("Conv", ["x", "w"], ["y"], name="node", group=16, pads=[1, 1, 1, 1])],
    inputs={"x": ("float32", [1, 16, 20, 20])},
    outputs={"y": ("float32", [1, 16, 20, 20])},
    constants={"w": weights(16, 1, 3, 3)},
)


def test_smaller_code_is_tried_before_a_refusal(tmp_path: Path) -> None:
    """Padding three rows at a time instead of the plane is what makes it fit."""
    usual = bare_artifact(DEPTHWISE, tmp_path)
    assert usual.manifest.memory.arena_bytes == 22 * 22 * 4
    spec = host_mcu_spec().with_limits(ram_bytes=22 * 22 * 4 - 1)
    small = bare_artifact(DEPTHWISE, tmp_path, spec)
    assert small.manifest.memory.arena_bytes <= 3 * 22 * 4 + 16  # or on the stack
    (call,) = small.report()["kernels"]
    assert call["schedule"]["name"] == "small-scalar-depthwise-conv2d"
    (kernel,) = (small.path / "src/kernels").glob("*.c")
    assert '#pragma GCC optimize("Os")' in kernel.read_text()


def test_flash_refusal_names_weights_and_code(tmp_path: Path) -> None:
    with pytest.raises(LimitError) as refused:
        bare_artifact(conv_net_model(), tmp_path, host_mcu_spec().with_limits(flash_bytes=100))
    assert "bytes of flash" in refused.value.what
    assert "the limit flash_bytes is 100; largest weights: constant " in refused.value.why
    assert "kernels with most code: " in refused.value.why
    assert "tried: the order of calls" in refused.value.why


def _on_a_missing_board(limits: LimitsSpec) -> TargetSpec:
    runner = RunnerSpec(kind="emulator", command=("qemu-system-nowhere",))
    return replace(host_mcu_spec(), runner=runner, limits=limits)


def test_a_stack_that_nothing_here_measures_is_said(tmp_path: Path) -> None:
    path = save(DEPTHWISE, tmp_path / "net.onnx")
    spec, warnings = _on_a_missing_board(LimitsSpec(stack_bytes=64)), list[str]()
    compile_model(path, target=spec, output=tmp_path / "out", warn=warnings.append)
    assert warnings == [
        "stack_bytes was not measured: "
        "no emulator for host-mcu: `qemu-system-nowhere` was not found"
    ]


def test_instructions_that_nothing_here_counts_are_no_limit(tmp_path: Path) -> None:
    path = save(DEPTHWISE, tmp_path / "net.onnx")
    spec = _on_a_missing_board(LimitsSpec(instruction_count=64))
    with pytest.raises(LimitError) as refused:
        compile_model(path, target=spec, output=tmp_path / "out")
    assert refused.value.what == "the limit instruction_count cannot be held"
    assert "`qemu-system-nowhere` was not found" in refused.value.why
    assert not (tmp_path / "out").exists()
