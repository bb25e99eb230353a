"""Dynamic int8: the bytes of the reference, and transformers as onnxruntime quantizes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from compiler.onnx_import.load import load_model
from compiler.pipeline import compile
from compiler.runners.open_runner import open_runner
from compiler.verification.reference import Reference
from tests.dynamic_models import dynamic_sums_model, images
from tests.integer_reference import IntegerReference
from tests.onnx_models import attention_model, save

EMULATED = ("cortex-a72", "neoverse-n1", "neoverse-v1", "rv64gcv", "cortex-m4f", "cortex-m55")


@pytest.mark.parametrize(
    "target", ["host", *(pytest.param(name, marks=pytest.mark.emulator) for name in EMULATED)]
)
def test_equal_bytes_to_the_reference(target: str, tmp_path: Path) -> None:
    model = dynamic_sums_model()
    path = save(model, tmp_path / "dynamic.onnx")
    made = compile(path, target=target, output=tmp_path / "out", verify="skip")
    sets = images()
    with open_runner(made) as runner:
        found = runner.run(sets).outputs
    reference = IntegerReference(model)
    for given, got in zip(sets, found, strict=True):
        for name, want in reference.run(given).items():
            assert got[name].dtype == want.dtype, name
            np.testing.assert_array_equal(got[name], want, err_msg=f"{name} on {target}")
    names = [kernel["kernel"] for kernel in made.report()["kernels"]]
    assert sum("integer_conv2d" in name for name in names) == 4
    assert sum("integer_depthwise" in name for name in names) == 1
    assert not made.report()["quantized_in_float"]


def test_reference_agrees_with_onnxruntime_on_small_weights() -> None:
    """Of 7 bits: onnxruntime's products of uint8 and int8 saturate in 16 bits without VNNI."""
    model = dynamic_sums_model()
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w"):
            small = onnx.numpy_helper.to_array(tensor) // 2
            tensor.CopyFrom(onnx.numpy_helper.from_array(small, tensor.name))
    for given in images():
        want = Reference(model).run(given)
        for name, got in IntegerReference(model).run(given).items():
            np.testing.assert_array_equal(got, want[name], err_msg=name)


def test_transformer_as_onnxruntime_quantizes_it(tmp_path: Path) -> None:
    """Every product with constant weights is in integers; the check is onnxruntime's own run."""
    path = save(attention_model(tokens=16, width=32), tmp_path / "float.onnx")
    # Of 7 bits: onnxruntime's products of uint8 and int8 saturate in 16 bits without VNNI.
    options = {"weight_type": QuantType.QInt8, "reduce_range": True}
    quantize_dynamic(path, tmp_path / "dynamic.onnx", **options)
    model = load_model(tmp_path / "dynamic.onnx")
    integer = [n for n in model.proto.graph.node if n.op_type == "MatMulInteger"]
    assert integer
    made = compile(model, target="host", output=tmp_path / "out", verify="skip")
    kernels = made.report()["kernels"]
    assert sum("integer_matmul" in kernel["kernel"] for kernel in kernels) == len(integer)
    assert not made.report()["quantized_in_float"]
    x = np.random.default_rng(0).standard_normal((1, 16, 32)).astype(np.float32)
    given = {info.name: x.reshape(info.shape) for info in model.inputs}
    with open_runner(made) as runner:
        (got,) = runner.run([given]).outputs
    for name, want in Reference(model.source).run(given).items():
        # A step of the 8-bit data, of some 1/128 of the largest, may fall on either side.
        np.testing.assert_allclose(got[name], want, atol=0.01 * float(np.abs(want).max()), rtol=0)
