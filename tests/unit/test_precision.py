"""Precisions other than float32: which targets have them, and what an artifact says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compiler.errors import TargetError
from compiler.pipeline import compile as compile_model
from compiler.precision import require_precision
from compiler.target_spec import Precision, load_target
from compiler.verification.comparison import Unit, float_tolerance
from schedules.cuda.threads import gpu_of
from tests.gpu_cases import CASES, PRODUCT
from tests.onnx_models import conv_net_model, save

GPU_PRECISIONS = gpu_of(load_target("cuda-sm80")).precisions
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


@pytest.mark.parametrize(
    ("target", "precision", "have", "able"),
    [
        ("cuda-sm75", "tf32", "float32, fp16", "cuda-sm80, cuda-sm89, cuda-sm90"),
        (
            "cortex-a72",
            "fp16",
            "float32",
            "apple-m1, cortex-a76, cuda-sm75, cuda-sm80, cuda-sm89, cuda-sm90, neoverse-n1, "
            "neoverse-n2, neoverse-v1",
        ),
        ("cortex-m4f", "tf32", "float32", "cuda-sm80, cuda-sm89, cuda-sm90"),
        ("icelake-server", "bf16", "float32", "sapphire-rapids, znver4"),
        ("x86-64-v4", "bf16", "float32", "sapphire-rapids, znver4"),
        ("neoverse-n1", "bf16", "float32, fp16", "sapphire-rapids, znver4"),
    ],
)
def test_target_without_the_instructions_is_refused(
    target: str, precision: Precision, have: str, able: str, tmp_path: Path
) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    with pytest.raises(TargetError) as error:
        compile_model(path, target=target, output=tmp_path / "out", precision=precision)
    assert str(error.value) == (
        f"target {target} has no instructions for --precision {precision}\n"
        f"  why: its products are computed in: {have}; tensor cores have tf32 from sm_80 on, "
        "fp16 from sm_75 on, 64-bit Arm has fp16 from Armv8.2 with FEAT_FP16 on, x86-64 has bf16 "
        "with AVX512-BF16\n"
        f"  fix: leave out --precision, or choose one of: {able}"
    )


def test_targets_with_the_instructions_are_not_refused() -> None:
    for name in ("cuda-sm80", "cuda-sm89", "cuda-sm90"):
        for precision in gpu_of(load_target(name)).precisions:
            require_precision(load_target(name), precision)
    for name in ("znver4", "sapphire-rapids"):
        require_precision(load_target(name), "bf16")
    require_precision(load_target("cuda-sm75"), "fp16")
    require_precision(load_target("cortex-m4f"), "float32")


def test_limits_of_outputs() -> None:
    assert float_tolerance("float32").limit == 1e-4
    assert {float_tolerance("float32", name).limit for name in ("tf32", "fp16")} == {1e-2}
    assert float_tolerance("float32", "bf16").limit == 4e-2
    assert float_tolerance("bfloat16", "tf32").limit == 5e-2  # its own rounding is coarser
    assert float_tolerance("int32", "tf32").unit is Unit.EQUAL


@needs_nvcc
def test_artifact_says_what_its_products_are_computed_in(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    made = {
        name: compile_model(path, target="cuda-sm80", output=tmp_path / name, precision=name)
        for name in GPU_PRECISIONS
    }
    limits = {"float32": 1e-4, "tf32": 1e-2, "fp16": 1e-2}
    for name, artifact in made.items():
        assert artifact.manifest.provenance.options["precision"] == artifact.manifest.precision
        checked = json.loads(artifact.verification_path.read_text())
        assert (checked["precision"], checked["float32_limit"]) == (name, limits[name])
        rules = {kernel["schedule"]["name"] for kernel in artifact.report()["kernels"]}
        assert ("gpu-tensor-product" in rules) == (name != "float32")
        assert (PRODUCT in rules) == (name == "float32")
        source = next((artifact.path / "src").rglob("*.cu")).read_text()
        assert ("mma.sync" in source) == (name != "float32")
    assert len({one.manifest.files["lib/libnet.so"] for one in made.values()}) == len(made)


@needs_nvcc
@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cuda-sm75", "cuda-sm80", "cuda-sm90"])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_ptxas_takes_every_product_and_it_fits_a_block(
    target: str, precision: Precision, tmp_path: Path
) -> None:
    spec = load_target(target)
    if precision not in gpu_of(spec).precisions:
        pytest.skip(f"{target} has no {precision}")
    for case in (case for case in CASES if PRODUCT in case.schedules):
        path = save(case.model, tmp_path / "case.onnx")
        artifact = compile_model(
            path, target=target, output=tmp_path / case.name, precision=precision, verify="skip"
        )
        (kernel,) = artifact.report()["kernels"]
        assert kernel["schedule"]["name"] == "gpu-tensor-product"
        assert all(launch["spill_bytes"] == 0 for launch in kernel["launches"])
        assert all(launch["registers"] > 0 for launch in kernel["launches"])
