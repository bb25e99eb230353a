"""Decisions of stages: what is open, what a record changes, what of it is not possible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tvm_ffi

from compiler.onnx_import.model import Model
from compiler.program import KernelCall, Program
from compiler.stages.conv2d_algorithm import choose_winograd
from compiler.stages.conv2d_forms import Conv2dForms, conv2d_text
from compiler.stages.decisions import NO_CHOICES
from compiler.target_spec import load_target
from compiler.tuning.decision import Decision
from compiler.tuning.record import Choice
from tests import choice_models as models
from tests import signatures
from tests.choice_models import lowered, variants
from tests.lowered import fixed_spec, loaded

SIG = signatures.conv2d(64, 64, 56)
PLENTY = 1 << 24


@pytest.fixture(scope="module")
def model() -> Model:
    return loaded(models.choice_model())


def decided(choices: dict[str, Choice], model: Model, **options: Any) -> dict[str, Decision]:
    return {one.signature: one for one in lowered(choices, model=model, **options).decisions}


def call_of(node: str, choices: dict[str, Choice], model: Model) -> KernelCall:
    program: Program = lowered(choices, model=model).workloads.program
    return next(call for call in program.calls if node in call.onnx_nodes)


def test_every_kind_of_decision_is_announced(model: Model) -> None:
    found = decided({}, model)
    assert sorted(found) == sorted(models.SIGNATURES)
    for one in found.values():
        assert one.taken == one.default
        assert len(one.options) > 1
        assert len({str(option) for option in one.options}) == len(one.options)
    assert found[models.DEPTHWISE].values == ("c2",)
    assert found[models.ATTENTION].values == ("z",)


def test_choices_of_other_operators_change_nothing(model: Model) -> None:
    other = models.BODY.replace("20x20", "21x21")
    before, after = lowered(model=model), lowered({other: {"algorithm": "direct"}}, model=model)
    assert after.decisions == before.decisions
    assert after.workloads.program.calls == before.workloads.program.calls
    for name, func in before.workloads.functions.items():
        assert tvm_ffi.structural_equal(func, after.workloads.functions[name]), name


def test_direct_sums_instead_of_winograd(model: Model) -> None:
    assert "winograd" in call_of("body", {}, model).kernel
    chosen: dict[str, Choice] = {models.BODY: {"algorithm": "direct", "block": 8}}
    assert "winograd" not in call_of("body", chosen, model).kernel
    assert decided(chosen, model)[models.BODY].taken == chosen[models.BODY]


def test_blocks_of_a_result(model: Model) -> None:
    for block, shape in ((8, "1x2x20x20x8"), (4, "1x4x20x20x4"), (1, "1x16x20x20")):
        chosen: dict[str, Choice] = {models.STEM: {"algorithm": "direct", "block": block}}
        assert call_of("stem", chosen, model).kernel == f"conv2d_float32_{shape}"


def test_a_plain_depthwise_convolution_asks_for_no_blocks(model: Model) -> None:
    plain: Choice = {"algorithm": "direct", "block": 1}
    calls = lowered({models.DEPTHWISE: plain}, model=model).workloads.program.calls
    made = next(call for call in calls if call.onnx_nodes == ("depthwise",))
    assert made.kernel == "depthwise_conv2d_float32_1x16x20x20"


def test_channels_in_lanes_instead_of_columns(model: Model) -> None:
    chosen: dict[str, Choice] = {models.HEAD: {"algorithm": "direct", "block": 1}}
    head = call_of("head", chosen, model)
    assert head.kernel.startswith("conv2d")
    assert decided(chosen, model)[models.HEAD].taken == chosen[models.HEAD]
    # It reads blocks then: the concatenation before it is made of them.
    (join,) = (one for one in decided(chosen, model) if one.startswith("concat"))
    assert join == "concat float32 1x2x20x20x8 1x2x20x20x8 to 1x4x20x20x8"


def test_a_fused_concatenation(model: Model) -> None:
    fused = call_of("join", {models.JOIN: {"algorithm": "fused"}}, model)
    assert call_of("join", {}, model).onnx_nodes == ("join",)
    assert len(fused.onnx_nodes) > 1


def test_attention_apart_and_with_another_tile(model: Model) -> None:
    apart = call_of("softmax", {models.ATTENTION: {"algorithm": "apart"}}, model)
    assert "attention" not in apart.kernel
    default = decided({}, model)[models.ATTENTION]
    tasks = [
        lowered({models.ATTENTION: option}, model=model).workloads.functions
        for option in default.options[:2]
    ]
    first, second = (one["attention_float32_2x16x8"] for one in tasks)
    assert not tvm_ffi.structural_equal(first, second)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"algorithm": "fft"}, "there is no algorithm 'fft'"),
        ({}, "there is no algorithm None"),
        ({"algorithm": "direct", "block": 16}, "its channels are no blocks of 16"),
        ({"algorithm": "direct", "block": 2}, "its channels are no blocks of 2"),
        ({"algorithm": "direct"}, "its channels are no blocks of None"),
        ({"algorithm": "columns", "vectors": 7}, "columns of a row cannot be in lanes"),
        ({"algorithm": "winograd", "block": 8}, "its tiles are none"),
        (
            {"algorithm": "winograd", "block": 8, "tile": 3, "chunks": [1, 1], "chunk": [19, 19]},
            "its tiles do not fit the result",
        ),
        (
            {"algorithm": "winograd", "block": 8, "tile": 4, "chunks": [1, 1], "chunk": [13, 14]},
            "its tiles do not fit the result",
        ),
        (
            {"algorithm": "winograd", "block": 8, "tile": 4, "chunks": [2, 1], "chunk": [14, 14]},
            "its tiles do not fit the result",
        ),
    ],
)
def test_forms_that_a_convolution_cannot_have(choice: Choice, problem: str) -> None:
    forms = Conv2dForms(spec=fixed_spec(), exact=False, arena_bytes=PLENTY)
    assert forms.refused(SIG, choice) == problem


def test_forms_that_only_some_builds_cannot_have() -> None:
    forms = Conv2dForms(spec=fixed_spec(), exact=False, arena_bytes=PLENTY)
    tiles = {"algorithm": "winograd", "block": 8, "tile": 4, "chunks": [1, 1], "chunk": [14, 14]}
    assert forms.refused(SIG, tiles) == ""
    exact = replace(forms, exact=True)
    assert exact.refused(SIG, tiles) == "no Winograd where sums are to be exact"
    small = replace(forms, arena_bytes=1 << 20)
    assert small.refused(SIG, tiles).startswith("it needs 3,612,672 bytes of scratch, ")
    scalable = replace(forms, spec=load_target("neoverse-v1"))
    assert scalable.refused(SIG, tiles) == "Winograd cannot compute it here"
    few = replace(SIG, out_channels=2)
    assert forms.refused(few, {"algorithm": "columns", "vectors": 6}) == (
        "6 vectors do not hold a row"
    )


@pytest.mark.parametrize("out_channels", [2, 12, 64])
@pytest.mark.parametrize("size", [7, 56])
def test_every_option_is_a_form_and_the_default_is_the_estimate(
    out_channels: int, size: int
) -> None:
    sig = replace(SIG, out_channels=out_channels, height=size, width=size)
    forms = Conv2dForms(spec=fixed_spec(), exact=False, arena_bytes=PLENTY)
    options = forms.options(sig)
    assert options[0] == forms.default(sig)
    assert options[0].grid == choose_winograd(sig, fixed_spec(), PLENTY)
    assert [forms.form(sig, option.choice) for option in options] == list(options)
    assert all(one.grid is None for one in replace(forms, exact=True).options(sig))


def test_signatures_are_readable() -> None:
    text = "conv2d float32 1x64x56x56 64x64x3x3 strides 1,1 pads 1,1,1,1 groups 1"
    assert conv2d_text(SIG, "float32") == text
    grouped = replace(SIG, groups=4, strides=(2, 1), dilation=(1, 2))
    assert conv2d_text(grouped, "float16") == (
        "conv2d float16 1x64x56x56 64x16x3x3 strides 2,1 pads 1,1,1,1 groups 4 dilation 1,2"
    )


def test_what_is_not_possible_is_passed_over_and_said(model: Model) -> None:
    winograd = decided({}, model)[models.BODY].default
    exact = decided({models.BODY: winograd}, model, exact=True)[models.BODY]
    assert exact.taken == {"algorithm": "direct", "block": 8}
    assert exact.passed_over == "no Winograd where sums are to be exact"
    chosen: dict[str, Choice] = {
        models.JOIN: {"algorithm": "swapped"},
        models.ATTENTION: {"algorithm": "fused", "vectors": 9, "scores": 9, "values": 9, "span": 9},
    }
    found = decided(chosen, model)
    assert found[models.JOIN].passed_over == "there is no algorithm 'swapped'"
    assert found[models.ATTENTION].passed_over == "its tile does not fit the registers"
    assert all(one.taken == one.default for one in found.values())


def test_variants_are_what_lowering_gives(model: Model) -> None:
    """Though they share the stages before the first decision, and packed weights."""
    made = variants(model)
    direct: dict[str, Choice] = {models.BODY: {"algorithm": "direct", "block": 8}}
    for choices in (NO_CHOICES, direct, NO_CHOICES):
        ours, theirs = made.lower(choices), lowered(choices, model=model)
        assert ours.decisions == theirs.decisions
        assert ours.workloads.program.calls == theirs.workloads.program.calls
        for name, func in theirs.workloads.functions.items():
            assert tvm_ffi.structural_equal(func, ours.workloads.functions[name]), name
        for value, array in theirs.workloads.program.constants.items():
            assert array.tobytes() == ours.workloads.program.constants[value].tobytes()
