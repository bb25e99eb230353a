"""Estimates beside the builds that they stand for, and how a need compares with its limit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.artifact.library_size import LIBRARY_ERROR
from compiler.drawn_inputs import drawn_inputs
from compiler.errors import ToolchainError, UnsupportedError
from compiler.estimate import Amount, Estimate, Verdict, estimate
from compiler.kernels.build_object import LINK_ERROR
from compiler.kernels.estimate_c import CODE_ERROR, INSTRUCTION_ERROR
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner
from compiler.target_spec import TargetSpec, load_target
from compiler.toolchain import find_toolchain
from tests.lowered import loaded
from tests.onnx_models import conv_net_model, save

MODELS = tuple(
    f"{name}_{kind}"
    for name in (
        *("kws_espeak_dscnn", "mlperf_tiny_ad_autoencoder", "mlperf_tiny_ic_resnet8"),
        *("mlperf_tiny_kws_dscnn", "mlperf_tiny_vww_mobilenetv1", "mnist_dscnn"),
    )
    for kind in ("f32", "qdq8")
)


def _amounts(made: Estimate) -> dict[str, Amount]:
    return {amount.limit: amount for amount in made.amounts}


def needs_toolchain(spec: TargetSpec) -> None:
    try:
        find_toolchain(spec.toolchain.cc)
    except ToolchainError as missing:
        pytest.skip(str(missing.what))


def assert_as_built(path: Path, spec: TargetSpec, folder: Path) -> dict[str, Any]:
    """Build the model; all that was estimated is right within its error. Returns the totals."""
    needs_toolchain(spec)
    made = estimate(load_model(path), spec)
    artifact = compile_model(path, target=spec, output=folder / "out", verify="skip")
    totals: dict[str, Any] = artifact.report()["totals"]
    amounts = _amounts(made)
    used = {region.name: region.size_bytes for region in artifact.manifest.memory.regions}
    assert amounts["ram_bytes"].need == totals["arena_bytes"]
    for name in (region.name for region in spec.memory if region.kind == "ram"):
        assert amounts[f"memory {name}"].need == used.get(name, 0)
    for limit, real in (
        ("flash_bytes", totals["code_bytes"] + made.weight_bytes),
        ("library_bytes", totals["library_bytes"]),
    ):
        need = amounts[limit].need
        assert need is not None
        assert abs(need - real) <= amounts[limit].error, limit
    assert len(artifact.report()["kernels"]) == made.kernel_calls
    assert made.peak is not None
    assert made.peak.size_bytes <= totals["arena_bytes"]
    return totals


def test_a_board(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    assert_as_built(path, load_target("cortex-m4f"), tmp_path)


def test_a_board_whose_code_llvm_makes(tmp_path: Path) -> None:
    path, spec = save(conv_net_model(), tmp_path / "net.onnx"), load_target("cortex-m55")
    totals = assert_as_built(path, spec, tmp_path)
    made = estimate(load_model(path), spec)
    assert made.code_bytes is not None
    assert abs(made.code_bytes - totals["code_bytes"]) <= LINK_ERROR * totals["code_bytes"]


def test_code_by_llvm_is_exact(tmp_path: Path) -> None:
    path, spec = save(conv_net_model(), tmp_path / "net.onnx"), load_target("x86-64-v3")
    totals = assert_as_built(path, spec, tmp_path)
    made = estimate(load_model(path), spec)
    assert made.code_bytes == totals["code_bytes"]
    assert _amounts(made)["flash_bytes"].error == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-a72", "neoverse-v1", "rv64gc", "apple-m1"])
def test_libraries_that_zig_links(target: str, models: Path, tmp_path: Path) -> None:
    assert_as_built(models / f"{MODELS[0]}.onnx", load_target(target), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m0plus", "rv32imac", "x86-64-v3"])
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, target: str, models: Path, tmp_path: Path) -> None:
    assert_as_built(models / f"{name}.onnx", load_target(target), tmp_path)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m7"])
@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith("_f32")])
def test_instructions(name: str, target: str, models: Path, tmp_path: Path) -> None:
    spec = load_target(target)
    needs_toolchain(spec)
    if shutil.which(spec.runner.command[0]) is None:
        pytest.skip(f"needs {spec.runner.command[0]}")
    path = models / f"{name}.onnx"
    amount = _amounts(estimate(load_model(path), spec))["instruction_count"]
    artifact = compile_model(path, target=spec, output=tmp_path / "out", verify="skip")
    with open_runner(artifact) as runner:
        counted = runner.run([drawn_inputs(runner.inputs)], count=True).instruction_count
    assert amount.need is not None
    assert counted is not None
    assert abs(amount.need - counted) <= amount.error


def test_errors_are_small_enough_to_tell_something() -> None:
    assert max(CODE_ERROR, INSTRUCTION_ERROR, LIBRARY_ERROR) <= 0.3


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m55", "rv32imac"])
def test_instructions_of_other_boards_are_not_estimated(target: str) -> None:
    spec = load_target(target).with_limits(instruction_count=1)
    amount = _amounts(estimate(loaded(conv_net_model()), spec))["instruction_count"]
    assert (amount.need, amount.what) == (None, "counted by compile")
    assert amount.verdict is Verdict.NOT_ESTIMATED


def test_instructions_of_sums_by_the_runtime_are_not_estimated(models: Path) -> None:
    spec = load_target("cortex-m4f").with_limits(instruction_count=1)
    model = load_model(models / "mlperf_tiny_ad_autoencoder_qdq8.onnx")
    assert _amounts(estimate(model, spec))["instruction_count"].need is None


def test_a_gpu_needs_no_compiler_of_its_own() -> None:
    spec = load_target("cuda-sm80").with_limits(library_bytes=1)
    made = estimate(loaded(conv_net_model()), spec)
    amounts = _amounts(made)
    assert made.code_bytes is None
    assert amounts["ram_bytes"].what == "arena in device memory"
    assert amounts["library_bytes"].verdict is Verdict.DOES_NOT_FIT  # the weights alone are more
    roomy = estimate(loaded(conv_net_model()), spec.with_limits(library_bytes=10**9))
    assert _amounts(roomy)["library_bytes"].verdict is Verdict.NOT_ESTIMATED


def test_smaller_code_is_estimated_where_the_usual_is_too_large() -> None:
    spec, model = load_target("cortex-m4f"), loaded(conv_net_model())
    usual = estimate(model, spec)
    need = _amounts(usual)["ram_bytes"].need
    assert need is not None
    smaller = estimate(model, spec.with_limits(ram_bytes=need - 1))
    assert (usual.is_smaller_code, smaller.is_smaller_code) == (False, True)
    assert smaller.code_bytes is not None
    assert usual.code_bytes is not None
    assert smaller.code_bytes < usual.code_bytes


def test_the_peak_holds_scratch_and_what_is_alive() -> None:
    """Two results that a later call reads are alive during a call that reads neither."""
    made = estimate(loaded(conv_net_model()), load_target("cortex-m4f"))
    total = _amounts(made)["ram_bytes"].need
    assert made.peak is not None
    assert total is not None
    # The plan of a chain reaches its bound but for the padding of blocks.
    assert total - 64 <= made.peak.size_bytes <= total
    assert made.peak.size_bytes > made.largest_tensors[0].size_bytes


def test_a_model_that_cannot_be_compiled_has_no_needs() -> None:
    from onnx import helper

    from tests.onnx_models import make_model

    model = make_model(
        [helper.make_node("NonZero", ["x"], ["y"], name="find")],
        inputs={"x": ("float32", [4])},
        outputs={"y": ("int64", [None, None])},
    )
    with pytest.raises(UnsupportedError):
        estimate(loaded(model), load_target("x86-64-v3"))


AMOUNT = Amount(limit="flash_bytes", what="code", need=100, error=10, most=100)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"most": None}, Verdict.NO_LIMIT),
        ({"most": 89}, Verdict.DOES_NOT_FIT),
        ({"most": 90}, Verdict.CLOSE),
        ({"most": 109}, Verdict.CLOSE),
        ({"most": 110}, Verdict.FITS),
        ({"error": 0}, Verdict.FITS),
        ({"error": 0, "most": 99}, Verdict.DOES_NOT_FIT),
        ({"need": None}, Verdict.NOT_ESTIMATED),
        ({"is_least": True}, Verdict.NOT_ESTIMATED),
        ({"is_least": True, "error": 0, "most": 99}, Verdict.DOES_NOT_FIT),
    ],
)
def test_verdicts(changes: dict[str, Any], verdict: Verdict) -> None:
    assert replace(AMOUNT, **changes).verdict is verdict
