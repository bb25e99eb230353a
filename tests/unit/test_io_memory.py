"""`--io-memory arena`: inputs and outputs are planned among the buffers of the arena."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from compiler.artifact.manifest import Artifact
from compiler.errors import LimitError, TargetError
from compiler.estimate import estimate
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.target_spec import TargetSpec, load_target
from compiler.verification.reference import Reference
from compiler.verification_inputs import draw_inputs
from tests.bare_library import (
    STRICT,
    bare_artifact,
    built_library,
    host_mcu_spec,
    host_vector_mcu_spec,
    regions_of,
    run_bare,
    run_in_arena,
)
from tests.onnx_models import conv_net_model, make_model, qdq_model, save

SHAPE = [2, 24]


def _model(nodes: list[NodeProto], inputs: str, **outputs: list[int]) -> onnx.ModelProto:
    return make_model(
        nodes,
        inputs=dict.fromkeys(inputs.split(), ("float32", SHAPE)),
        outputs={name: ("float32", shape) for name, shape in outputs.items()},
        constants={"shape": np.asarray([6, 8], np.int64)},
    )


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def _constant() -> NodeProto:
    numbers = np.arange(48, dtype=np.float32).reshape(SHAPE)
    return _node("Constant", "", "c", value=numpy_helper.from_array(numbers))


# By what is special about their inputs and outputs.
MODELS = {
    "several-of-both": _model(
        [_node("Add", "a b", "s"), _node("Transpose", "a", "t"), _node("MatMul", "s t", "p")],
        "a b",
        s=SHAPE,
        p=[2, 2],
    ),
    "passed-through": _model(
        [_node("Relu", "x", "r"), _node("Identity", "x", "y")], "x", r=SHAPE, y=SHAPE
    ),
    "passed-through-alone": _model([_node("Identity", "x", "y")], "x", y=SHAPE),
    "passed-through-twice": _model(
        [_node("Identity", "x", "y"), _node("Identity", "x", "z"), _node("Abs", "x", "a")],
        "x",
        y=SHAPE,
        z=SHAPE,
        a=SHAPE,
    ),
    "view": _model([_node("Reshape", "x shape", "y")], "x", y=[6, 8]),
    "parts": _model([_node("Split", "x", "y z", axis=0, num_outputs=2)], "x", y=[1, 24], z=[1, 24]),
    "constant": _model([_constant(), _node("Relu", "x", "r")], "x", c=SHAPE, r=SHAPE),
    "same-tensor": _model(
        [_node("Relu", "x", "r"), _node("Identity", "r", "y"), _node("Identity", "r", "z")],
        "x",
        y=SHAPE,
        z=SHAPE,
    ),
    "not-read": _model([_node("Relu", "x", "y")], "x u", y=SHAPE),
    "read-by-several": _model(
        [
            _node("Exp", "x", "e"),
            _node("Softmax", "x", "s", axis=1),
            _node("Mul", "e s", "m"),
            _node("Sub", "m x", "y"),
        ],
        "x",
        y=SHAPE,
    ),
    "quantized": qdq_model(),
    "network": conv_net_model(),
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return bare_artifact(conv_net_model(), tmp_path_factory.mktemp("net"), io_memory="arena")


def assert_right_twice(artifact: Artifact, path: Path, folder: Path) -> None:
    """Two runs in the same memory, on other inputs: each as onnxruntime has it."""
    model = load_model(path)
    sets = [draw_inputs(model, seed) for seed in (5, 6)]
    for given, found in zip(sets, run_in_arena(artifact, sets, folder), strict=True):
        for name, expected in Reference(model.source).run(given).items():
            largest = float(np.abs(expected).max())
            np.testing.assert_allclose(
                found[name], expected, atol=1e-5 * largest, rtol=0, err_msg=name
            )


@pytest.mark.parametrize("name", MODELS)
def test_every_run_reads_what_was_written_and_leaves_its_outputs(name: str, tmp_path: Path) -> None:
    made = bare_artifact(MODELS[name], tmp_path, io_memory="arena")
    assert_right_twice(made, tmp_path / "net.onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_same_with_kernels_by_llvm(name: str, tmp_path: Path) -> None:
    made = bare_artifact(MODELS[name], tmp_path, host_vector_mcu_spec(), "arena")
    assert_right_twice(made, tmp_path / "net.onnx", tmp_path)


@pytest.mark.parametrize("name", ["passed-through", "quantized"])
def test_the_caller_may_keep_arrays_of_its_own(name: str, tmp_path: Path) -> None:
    made = bare_artifact(MODELS[name], tmp_path, io_memory="arena")
    model = load_model(tmp_path / "net.onnx")
    given = draw_inputs(model, 5)
    kept = given["x"].copy()
    found = run_bare(made, given, tmp_path)
    np.testing.assert_array_equal(given["x"], kept)
    for output, expected in Reference(model.source).run(given).items():
        np.testing.assert_allclose(found[output], expected, atol=1e-5, rtol=0, err_msg=output)


def quantizer_model() -> onnx.ModelProto:
    """x [1, 3, 1365] -> its integers. No vector divides a row, nor all of it."""
    shape = [1, 3, 1365]
    return make_model(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], name="quantizer")],
        inputs={"x": ("float32", shape)},
        outputs={"y": ("int8", shape)},
        constants={"scale": np.asarray(0.05, np.float32), "zero": np.asarray(-3, np.int8)},
    )


@pytest.mark.parametrize("spec", [host_mcu_spec(), host_vector_mcu_spec()], ids=lambda s: s.name)
def test_integers_are_written_over_the_floats_that_they_are_made_of(
    spec: TargetSpec, tmp_path: Path
) -> None:
    made = bare_artifact(quantizer_model(), tmp_path, spec, "arena")
    (given,), (result,) = made.manifest.inputs, made.manifest.outputs
    assert given.place == result.place
    assert made.manifest.memory.arena_bytes == given.size_bytes
    assert_right_twice(made, tmp_path / "net.onnx", tmp_path)


def test_an_output_lies_where_the_input_did_that_it_is(tmp_path: Path) -> None:
    made = bare_artifact(MODELS["view"], tmp_path, io_memory="arena")
    assert made.manifest.inputs[0].place == made.manifest.outputs[0].place
    assert made.manifest.memory.arena_bytes == made.manifest.inputs[0].size_bytes


def test_memory_of_two_regions(tmp_path: Path) -> None:
    """The input is larger than the fast region, the output is not."""
    spec = host_mcu_spec()
    stack = spec.limits.stack_bytes
    assert stack is not None
    (ram,) = (region for region in spec.memory if region.kind == "ram")
    flash = [region for region in spec.memory if region.kind == "flash"]
    fast = replace(ram, name="fast", size_bytes=stack + 1024)
    slow = replace(ram, name="slow", start_address=0x6000_0000, rank=1)
    spec = replace(spec, memory=(*flash, fast, slow)).with_limits(ram_bytes=None)
    made = bare_artifact(conv_net_model(), tmp_path, spec, "arena")
    places = [tensor.place for tensor in (*made.manifest.inputs, *made.manifest.outputs)]
    assert [place.region for place in places if place] == [1, 0]
    assert_right_twice(made, tmp_path / "net.onnx", tmp_path)


DRIVER = """
#include "net.h"

int with_header(void *arena, const float *given, float *made);
int with_header(void *arena, const float *given, float *made)
{
    net_memory memory;
    size_t i;
    int error;
    memory.region[0] = arena;
    for (i = 0; i < 768; i++) {
        net_input_x(&memory)[i] = given[i];
    }
    error = net_run_in_place(NULL) == TUNESMITH_E_NULL ? net_run_in_place(&memory) : -1;
    for (i = 0; i < 10; i++) {
        made[i] = net_output_y(&memory)[i];
    }
    return error;
}
"""


def test_header_gives_places_and_runs_in_them(network: Artifact, tmp_path: Path) -> None:
    made = network
    header = (made.path / "include/net.h").read_text()
    for tensor, macro in (
        (made.manifest.inputs[0], "INPUT_X"),
        (made.manifest.outputs[0], "OUTPUT_Y"),
    ):
        assert tensor.place is not None
        assert f"#define NET_{macro}_REGION {tensor.place.region}\n" in header
        assert f"#define NET_{macro}_OFFSET {tensor.place.offset}\n" in header
    driver = tmp_path / "driver.c"
    driver.write_text(DRIVER)
    library = built_library(made, tmp_path, str(driver))
    model = load_model(made.path.parent / "net.onnx")
    given, result = draw_inputs(model, 0), np.empty((1, 10), np.float32)
    (arena,) = regions_of(made)
    addresses = (ctypes.c_void_p(a.ctypes.data) for a in (arena, given["x"], result))
    assert library.with_header(*addresses) == 0
    wanted = Reference(model.source).run(given)["y"]
    np.testing.assert_allclose(result, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++"])
def test_header_and_example_compile_without_warnings(compiler: str, network: Artifact) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    language = ("-x", "c++", "-std=c++11") if compiler == "g++" else ()
    flags = (*(language or ("-std=c99",)), *STRICT[1:], "-Wcast-align", "-Iinclude")
    done = subprocess.run(
        (compiler, *flags, "-fsyntax-only", "examples/main.c"),
        cwd=network.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_differ_by_their_case_have_macros_of_their_own(tmp_path: Path) -> None:
    model = _model([_node("Add", "x X", "y")], "x X", y=SHAPE)
    made = bare_artifact(model, tmp_path, io_memory="arena")
    header = (made.path / "include/net.h").read_text()
    offsets = {tensor.name: tensor.place.offset for tensor in made.manifest.inputs if tensor.place}
    assert f"#define NET_INPUT_X_OFFSET {offsets['x']}\n" in header
    assert f"#define NET_INPUT_X_2_OFFSET {offsets['X']}\n" in header
    assert_right_twice(made, tmp_path / "net.onnx", tmp_path)


def test_zephyr_and_report_know_where_they_lie(network: Artifact) -> None:
    made = network
    assert (
        "memory, in which inputs and outputs lie: see net.h"
        in (made.path / "zephyr/Kconfig").read_text()
    )
    values = made.report()["values"]
    for tensor, kind in ((made.manifest.inputs[0], "input"), (made.manifest.outputs[0], "output")):
        (value,) = (value for value in values if value["kind"] == kind)
        assert tensor.place is not None
        region = made.manifest.memory.regions[tensor.place.region].name
        assert (value["region"], value["offset"]) == (region, tensor.place.offset)
    assert made.manifest.provenance.options["io_memory"] == "arena"


def test_nothing_of_it_is_in_other_artifacts(tmp_path: Path) -> None:
    made = bare_artifact(conv_net_model(), tmp_path)
    assert "io_memory" not in made.manifest.provenance.options
    tensors = (*made.manifest.inputs, *made.manifest.outputs)
    assert [tensor.place for tensor in tensors] == [None, None]
    assert "run_in_place" not in (made.path / "include/net.h").read_text()


def test_limit_and_estimate_count_inputs_and_outputs(tmp_path: Path) -> None:
    path = save(qdq_model(), tmp_path / "net.onnx")
    spec = load_target("cortex-m4f")
    apart, held = (
        estimate(load_model(path), spec, io_memory=memory) for memory in ("caller", "arena")
    )
    needs = [made.amounts[0].need for made in (apart, held)]
    assert [made.amounts[0].what for made in (apart, held)] == [
        "arena",
        "arena with inputs and outputs",
    ]
    assert needs[0] is not None
    assert needs[1] == 256 * 5  # integers and floats of the output
    assert needs[0] < needs[1]
    bare = host_mcu_spec().with_limits(ram_bytes=needs[1])
    bare_artifact(qdq_model(), tmp_path, bare, "arena")
    with pytest.raises(LimitError) as refused:
        bare_artifact(qdq_model(), tmp_path, bare.with_limits(ram_bytes=needs[1] - 1), "arena")
    assert refused.value.what == "the model needs 1,280 bytes of RAM"
    assert "largest tensors: y (1,024 bytes), x (768 bytes)" in refused.value.why


@pytest.mark.parametrize("target", ["x86-64-v3", "cuda-sm80"])
def test_a_target_with_sessions_refuses_it_word_for_word(target: str, tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    text = (
        f"target {target} has no --io-memory arena\n"
        "  why: a session owns its arena and hands it to nobody; only on microcontrollers is the "
        "arena the caller's\n"
        "  fix: leave out --io-memory, or choose one of: cortex-m0plus, cortex-m33, cortex-m4f, "
        "cortex-m55, cortex-m7, rv32imac"
    )
    with pytest.raises(TargetError) as refused:
        compile_model(path, target=target, output=tmp_path / "out", io_memory="arena")
    assert str(refused.value) == text
    with pytest.raises(TargetError) as refused:
        estimate(load_model(path), load_target(target), io_memory="arena")
    assert str(refused.value) == text
