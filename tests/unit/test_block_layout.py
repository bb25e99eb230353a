"""Which values are blocked, where plain copies stand, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tvm_ffi

from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.program import Program
from compiler.relax_program import extract_program
from compiler.stages.block_layout import block_layout
from compiler.stages.operators.channel_blocks import channel_block
from tests.blocked_models import (
    chain_model,
    channels_last_model,
    grouped_model,
    head_model,
    parts_model,
)
from tests.differential.agreement import assert_agrees
from tests.lowered import apply_rule, fixed_spec, loaded, staged, workloads


def _program(model: onnx.ModelProto) -> Program:
    read = loaded(model)
    return extract_program(staged(read), read)


def _blocks(program: Program) -> dict[str, int | None]:
    """Channel block of what each call first makes of its last ONNX node."""
    return {
        call.onnx_nodes[-1]: program.values[call.outputs[0]].channel_block
        for call in reversed(program.calls)
    }


@pytest.mark.parametrize(
    ("channels", "lanes", "block"),
    [(64, 16, 16), (24, 16, 8), (12, 16, 4), (10, 16, None), (3, 8, None), (16, 8, 8)],
)
def test_channel_block(channels: int, lanes: int, block: int | None) -> None:
    assert channel_block(channels, lanes) == block


def test_values_between_convolutions_are_blocked_and_the_output_is_plain() -> None:
    program = _program(chain_model())
    assert _blocks(program) == {"stem_relu": 8, "depthwise": 8, "residual": 8, "last": None}
    assert [call.operator for call in program.calls] == ["Conv+Relu", "Conv", "Conv+Add", "Conv"]


def test_a_plane_sum_reads_blocked_data_without_a_copy() -> None:
    program = _program(chain_model(last="GlobalAveragePool"))
    assert len(program.calls) == 4
    assert program.values[program.outputs[0].value].shape == (1, 8, 1, 1)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resizing_stays_in_blocked_layout(mode: str) -> None:
    blocks = _blocks(_program(chain_model(last="Resize", mode=mode)))
    assert blocks["resize"] == blocks["depthwise"] == 8
    assert blocks["last"] is None


def test_what_only_a_plain_operator_reads_is_not_blocked() -> None:
    blocks = _blocks(_program(chain_model(last="Softmax")))
    assert blocks == {"stem_relu": 8, "depthwise": 8, "residual": None, "last": None}


def test_transposes_from_and_to_channels_last_change_the_layout_at_once() -> None:
    program = _program(channels_last_model(16))
    assert [call.operator for call in program.calls] == [
        *("Conv", "Conv", "Transpose", "LayerNormalization", "Transpose", "Conv")
    ]
    assert _blocks(program) == {
        "stem": 8,
        "depthwise": 8,
        "to_last": None,
        "norm": None,
        "from_last": 8,
        "pointwise": None,
    }


def test_one_block_with_its_channels_last_is_a_view() -> None:
    program = _program(channels_last_model(8))
    assert [call.operator for call in program.calls] == [
        *("Conv", "Conv", "LayerNormalization", "Conv")
    ]


def test_channels_that_no_block_divides_stay_plain() -> None:
    assert set(_blocks(_program(chain_model(channels=10))).values()) == {None}


def test_what_only_a_convolution_with_columns_in_lanes_reads_is_plain() -> None:
    blocks = _blocks(_program(head_model()))
    assert blocks == {"stem": None, "head": None}


def test_a_convolution_with_columns_in_lanes_reads_blocked_data_as_it_is() -> None:
    program = _program(head_model(also_blocked=True))
    assert _blocks(program) == {"stem": 8, "head": None, "body": None}
    assert [call.operator for call in program.calls] == ["Conv"] * 3


@pytest.mark.parametrize("also_blocked", [False, True])
def test_heads_give_the_same_numbers(also_blocked: bool) -> None:
    assert_agrees(head_model(also_blocked=also_blocked), tolerance=1e-5)


@pytest.mark.parametrize(
    ("channels", "groups", "block"),
    [(32, 4, 8), (32, 8, 4), (48, 4, 4), (128, 4, 8), (24, 4, None)],
    ids=["a-block", "half-a-block", "a-block-and-a-half", "four-blocks", "no-block"],
)
def test_groups_read_and_write_blocked_values(
    channels: int, groups: int, block: int | None
) -> None:
    program = _program(grouped_model(channels, groups))
    assert _blocks(program) == {"stem": 8, "relu": block, "pointwise": None}
    assert [call.operator for call in program.calls] == ["Conv", "Conv+Relu", "Conv"]


@pytest.mark.parametrize("channels", [32, 64, 128])
def test_the_convolution_rule_takes_groups_in_blocked_layout(channels: int) -> None:
    functions = list(workloads(grouped_model(channels, 4)).functions.values())
    assert apply_rule("conv2d", functions[1]) is not None


@pytest.mark.parametrize(
    ("begins", "ends", "sections", "sliced", "split"),
    [
        ([8, 1], [32, 6], [8, 16], 8, 8),
        ([-24, -6], [1000, -1], [16, 8], 8, 8),
        ([8, 1], [32, 6], [12, 12], None, None),
        ([4, 0], [28, 7], [8, 16], None, None),
    ],
    ids=["whole-blocks", "counted-from-the-end", "split-in-a-block", "sliced-in-a-block"],
)
def test_parts_at_borders_of_blocks_stay_blocked(
    begins: list[int], ends: list[int], sections: list[int], sliced: int | None, split: int | None
) -> None:
    model = parts_model(begins, ends, sections)
    program = _program(model)
    made = {
        node: {program.values[v].channel_block for v in call.outputs}
        for call in program.calls
        for node in call.onnx_nodes
    }
    assert made["relu"] == {sliced}
    parts = {value.channel_block for value in program.values if value.onnx_name in ("p0", "p1")}
    # Parts of plain values are read where they lie, or made by the kernel that reads them.
    assert parts <= {split}
    assert parts or split is None
    assert_agrees(model, tolerance=1e-5)


def test_the_module_passed_in_is_left_as_it_was() -> None:
    mod = staged(loaded(chain_model()), until="block-layout")
    before = tvm_ffi.structural_hash(mod)
    changed = block_layout(mod, spec=fixed_spec())
    assert tvm_ffi.structural_hash(mod) == before
    assert tvm_ffi.structural_hash(changed) != before


@pytest.mark.parametrize(
    "last", ["Conv", "Softmax", "GlobalAveragePool", "channels-last", "sigmoid"]
)
@pytest.mark.parametrize("channels", [8, 10, 20, 48])
def test_same_numbers_and_every_kernel_alone(last: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "chain.onnx"
    models = {
        "channels-last": lambda: channels_last_model(channels),
        "linear": lambda: chain_model(last="Resize", channels=channels, mode="linear"),
        "sigmoid": lambda: chain_model(channels=channels, after_depthwise="Sigmoid"),
    }
    model = models.get(last, lambda: chain_model(last=last, channels=channels))()
    onnx.save(model, path)
    artifact = compile_model(path, target="host", output=tmp_path / "out")
    from compiler.verify import check

    result = check(artifact.path, load_model(path), per_kernel=True)
    assert result.status.value == "passed"
    assert len(result.kernels) == len(artifact.report()["kernels"])
    blocked = [v for v in artifact.report()["values"] if v["channel_block"]]
    assert bool(blocked) == (channels != 10)


@pytest.mark.parametrize(("last", "changes"), [("Conv", 0), ("Softmax", 1)])
def test_layout_changes_are_counted(tmp_path: Path, last: str, changes: int) -> None:
    """The chain ends in blocked layout; a convolution reads it so, a softmax wants it plain."""
    onnx.save(chain_model(last=last), tmp_path / "chain.onnx")
    artifact = compile_model(
        tmp_path / "chain.onnx", target="x86-64-v3", output=tmp_path / "made", verify="skip"
    )
    report = artifact.report()
    assert report["totals"]["layout_changes"] == changes
    assert sum(call["layout_changes"] for call in report["kernels"]) == changes
