"""Products of bfloat16 on x86: what becomes bfloat16, what stays, what the loops are made of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.code_generation import (
    GeneratedCode,
    cpu_lowering,
    generate_code,
    lower_graph,
)
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.stages.conv2d_algorithm import choose_winograd
from compiler.stages.conv2d_forms import Conv2dForms
from compiler.stages.conv2d_lanes import columns_in_lanes
from compiler.target_spec import Precision, load_target, runs_here
from compiler.tuning.store import NO_RECORDS
from tests import signatures
from tests.bfloat_models import convolution, product
from tests.lowered import loaded
from tests.onnx_models import attention_model, conv_net_model, make_model, save, weights

SPEC = load_target("znver4")
LARGE = 1 << 30  # bytes of an arena, of which any scratch is a small share


def generated(model: onnx.ModelProto, folder: Path, precision: Precision = "bf16") -> GeneratedCode:
    return generate_code(
        load_model(save(model, folder / "net.onnx")),
        SPEC,
        NO_RECORDS,
        exact=False,
        precision=precision,
        jobs=1,
        dump_stages=None,
        report=lambda _: None,
    )


def rules_of(code: GeneratedCode) -> list[str]:
    return sorted({kernel.schedule.name for kernel in code.kernels.values()})


def kinds_of(code: GeneratedCode) -> list[str]:
    return sorted(str(array.dtype) for array in code.program.constants.values())


def test_weights_are_bfloat16_and_values_stay_float32(tmp_path: Path) -> None:
    code = generated(product((4,), 16, 24), tmp_path)
    assert kinds_of(code) == ["bfloat16", "float32"]  # the weights, what is added
    assert {value.dtype for value in code.program.values} == {"bfloat16", "float32"}
    arrays = code.program.constants.values()
    packed = next(array for array in arrays if str(array.dtype) == "bfloat16")
    wanted = weights(16, 24, seed=1).astype(packed.dtype)  # half to even
    assert np.array_equal(packed[0, 1, 3, 5], wanted[6:8, 21])  # two of a column, one after another
    assert rules_of(code) == ["bfloat-matmul"]


def test_depthwise_grouped_and_plain_convolutions_stay_float32(tmp_path: Path) -> None:
    code = generated(conv_net_model(size=32), tmp_path)
    rules = rules_of(code)
    assert {"conv2d", "blocked-depthwise-conv2d", "bfloat-conv2d", "bfloat-matmul"} <= set(rules)
    grouped = generated(convolution((1, 6, 6, 32), (32, 16, 3, 3), group=2), tmp_path)
    assert "bfloat16" not in kinds_of(grouped)
    column = generated(convolution((1, 20, 1, 16), (16, 16, 3, 1)), tmp_path)
    assert "bfloat16" not in kinds_of(column)


def test_product_of_two_tensors_and_attention_stay_float32(tmp_path: Path) -> None:
    attention = generated(attention_model(tokens=64, width=64), tmp_path)
    assert "attention" in rules_of(attention)
    assert "bfloat16" in kinds_of(attention)  # its projections
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"], name="product")]
    inputs = {"a": ("float32", (4, 16)), "b": ("float32", (16, 16))}
    both = make_model(nodes, inputs=inputs, outputs={"y": ("float32", (4, 16))})
    assert rules_of(generated(both, tmp_path)) == ["matmul"]


def test_few_columns_stay_float32(tmp_path: Path) -> None:
    assert kinds_of(generated(product((4,), 16, 2), tmp_path)) == ["float32", "float32"]


def test_other_precisions_have_no_bfloat16(tmp_path: Path) -> None:
    code = generated(conv_net_model(size=32), tmp_path, "float32")
    assert "bfloat16" not in kinds_of(code)
    assert not any(rule.startswith("bfloat") for rule in rules_of(code))


def test_winograd_only_where_it_beats_two_products_a_step() -> None:
    spec = SPEC.with_cores(1)
    few = signatures.conv2d(32, 32, 28)
    many = signatures.conv2d(128, 128, 56)
    assert choose_winograd(few, spec, LARGE) is not None
    assert choose_winograd(few, spec, LARGE, bfloats=True) is None
    assert choose_winograd(many, spec, LARGE, bfloats=True) is not None


def test_columns_fill_lanes_only_where_they_beat_two_products_a_step() -> None:
    sig = signatures.conv2d(32, 8, 32)
    assert columns_in_lanes(sig, SPEC) is not None
    assert columns_in_lanes(sig, SPEC, bfloats=True) is None


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
@pytest.mark.parametrize("target", ["znver4", "sapphire-rapids"])
def test_loops_of_products_are_of_the_instruction(
    target: str, models: Path, tmp_path: Path
) -> None:
    """Of ResNet-8: each loop with the most products of its kernel has no float32 product."""
    made = compile_model(
        models / "mlperf_tiny_ic_resnet8_f32.onnx",
        target=target,
        output=tmp_path / "out",
        precision="bf16",
        verify="skip",
    )
    kernels = [k for k in made.report()["kernels"] if k["schedule"]["name"] == "bfloat-conv2d"]
    assert len(kernels) == 8  # all but the first, which reads the plain input
    library = next((made.path / "lib").glob("*.so"))
    code = subprocess.run(
        ("objdump", "-d", "--no-show-raw-insn", str(library)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for kernel in kernels:
        bodies = re.findall(rf"^\w+ <\w*__{kernel['kernel']}>:\n(.*?)\n\n", code, re.S | re.M)
        (body,) = bodies
        products = body.count("vdpbf16ps")
        assert products >= 50
        assert body.count("vfmadd") == 0
        assert body.count("vcvtneps2bf16") >= 1


@pytest.mark.skipif(runs_here(SPEC), reason="this machine has the instructions")
def test_check_of_what_cannot_run_here_is_not_run(tmp_path: Path) -> None:
    path = save(product((4,), 16, 24), tmp_path / "net.onnx")
    made = compile_model(path, target="znver4", output=tmp_path / "out", precision="bf16")
    said = json.loads(made.verification_path.read_text())
    assert (said["status"], said["precision"], said["float32_limit"]) == ("not run", "bf16", 4e-2)
    assert "avx512" in said["reason"]


def test_the_default_counts_two_products_a_step() -> None:
    forms = Conv2dForms(spec=SPEC.with_cores(1), exact=False, arena_bytes=LARGE)
    bfloats = replace(forms, bfloats=True)
    few, narrow = signatures.conv2d(32, 32, 28), signatures.conv2d(32, 8, 32)
    assert [one.default(few).algorithm for one in (forms, bfloats)] == ["winograd", "direct"]
    assert [one.default(narrow).algorithm for one in (forms, bfloats)] == ["columns", "direct"]


def test_signatures_of_choices_say_bfloat16() -> None:
    model = loaded(conv_net_model(size=32))
    lowering, spec = cpu_lowering(model, SPEC, exact=False, precision="bf16")
    graph = lower_graph(lowering, model, spec, None, lambda _: None)
    kinds = {one.signature.split()[1] for one in graph.decisions if "conv2d" in one.signature}
    assert kinds == {"bfloat16"}
