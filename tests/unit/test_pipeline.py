"""``compiler.compile``: the whole road in one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compiler
from compiler.errors import InputError, LimitError, VerificationError
from compiler.onnx_import.load import load_model
from compiler.pipeline import VerifyMode, compile
from compiler.target_spec import load_target, runs_here
from tests.onnx_models import conv_model, conv_net_model, dense_model, run_onnx, save


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return save(conv_net_model(), tmp_path / "net.onnx")


def test_same_words_as_the_command_line(net: Path, tmp_path: Path) -> None:
    artifact = compiler.compile(net, target="host", output=tmp_path / "out")
    assert artifact.path == tmp_path / "out"
    assert json.loads(artifact.verification_path.read_text())["status"] == "passed"
    image = np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float32)
    with compiler.load(artifact.path) as library:
        got = library.run({"x": image})["y"]
    (want,) = run_onnx(conv_net_model(), {"x": image})
    # float32 sums of at most 72 products, probabilities below 1
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_model_and_spec_may_be_objects(net: Path, tmp_path: Path) -> None:
    spec = load_target("host")
    by_object = compile(load_model(net), target=spec, output=tmp_path / "a", verify="skip")
    by_name = compile(net, target="host", output=tmp_path / "b", verify="skip")
    assert by_object.manifest == by_name.manifest


def test_steps_are_reported_in_order(net: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    artifact = compile(net, target="host", output=tmp_path / "out", report=steps.append)
    stages = list(artifact.manifest.provenance.stages)
    assert steps == [*("load", "import"), *stages, "kernels", "plan-memory", "link", "verify"]


def test_options_are_in_the_manifest(net: Path, tmp_path: Path) -> None:
    """And change the fingerprint where they change code."""
    artifacts = [
        compile(net, target="host", output=tmp_path / str(threads), threads=threads, verify="skip")
        for threads in (1, 3)
    ]
    provenances = [artifact.manifest.provenance for artifact in artifacts]
    assert [provenance.options["threads"] for provenance in provenances] == [1, 3]
    assert provenances[0].options["weights_form"] == "incbin"
    assert {"apache-tvm", "onnx", "cc", "tunesmith"} <= provenances[0].tool_versions.keys()
    fingerprints = {artifact.manifest.target.fingerprint for artifact in artifacts}
    assert len(fingerprints) == 2


@pytest.mark.parametrize("name", ["ram_bytes", "flash_bytes", "library_bytes"])
def test_the_amount_that_a_refusal_names_is_enough(net: Path, tmp_path: Path, name: str) -> None:
    def build(limit: int) -> None:
        limits = {name: limit}
        compile(net, target="host", output=tmp_path / "out", limits=limits, verify="skip")

    with pytest.raises(LimitError) as refused:
        build(1)
    needed = int(refused.value.fix.partition(f"--limit {name}=")[2].partition(",")[0])
    assert f"{needed:,} bytes" in refused.value.what
    assert f"the limit {name} is 1" in refused.value.why
    with pytest.raises(LimitError):
        build(needed - 1)
    assert not (tmp_path / "out").exists()
    build(needed)
    assert (tmp_path / "out").exists()


def test_ram_refusal_text(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    with pytest.raises(LimitError) as refused:
        compile(path, target="host", output=tmp_path / "out", limits={"ram_bytes": 9})
    what, why, fix = str(refused.value).splitlines()
    amount = what.split()[3]
    assert what == f"the model needs {amount} bytes of RAM"
    assert why.startswith("  why: the limit ram_bytes is 9; largest tensors: r0 (2,048 bytes), ")
    assert "; kernels that need most: " in why
    assert why.count(" bytes)") == 6
    raised = f"--limit ram_bytes={amount.replace(',', '')}"
    assert fix == f"  fix: raise it with {raised}, or make the model smaller"


@pytest.mark.parametrize("name", ["stack_bytes", "instruction_count"])
def test_limit_that_nothing_measures(net: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(LimitError) as refused:
        compile(net, target="host", output=tmp_path / "out", limits={name: 5})
    assert str(refused.value) == (
        f"the limit {name} cannot be held\n"
        "  why: nothing measures it for the target host; "
        "held are: flash_bytes, ram_bytes, library_bytes, latency_us\n"
        f"  fix: leave {name} out"
    )


def test_latency_is_held_where_the_runner_can_time(net: Path, tmp_path: Path) -> None:
    hour = {"latency_us": 3_600_000_000}
    compile(net, target="host", output=tmp_path / "in time", threads=1, limits=hour)
    with pytest.raises(LimitError) as refused:
        compile(net, target="host", output=tmp_path / "out", threads=1, limits={"latency_us": 1})
    what, why, fix = str(refused.value).splitlines()
    needed = what.split()[3]
    assert what == f"a run takes {needed} us"
    assert int(needed.replace(",", "")) > 1
    assert why.startswith(
        "  why: the limit latency_us is 1; median of 21 runs with 1 thread(s) on "
    )
    assert fix.startswith(f"  fix: raise it with --limit latency_us={needed.replace(',', '')}, or")
    assert not (tmp_path / "out").exists()


def test_latency_in_an_emulator_is_no_limit(net: Path, tmp_path: Path) -> None:
    limits = {"latency_us": 50}
    with pytest.raises(LimitError, match="the limit latency_us cannot be held"):
        compile(net, target="cortex-a72", output=tmp_path / "out", limits=limits)


def test_inputs_are_refused_before_anything_is_built(net: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    arrays = {"x": np.zeros((1, 3, 16, 15), np.float32)}
    with pytest.raises(InputError):
        compile(net, target="host", output=tmp_path / "out", inputs=arrays, report=steps.append)
    assert steps == ["load"]


def test_inputs_that_exercise_nothing(net: Path, tmp_path: Path) -> None:
    arrays = {"x": np.full((1, 3, 16, 16), 0.5, np.float32)}
    with pytest.raises(VerificationError) as refused:
        compile(net, target="host", output=tmp_path / "out", inputs=arrays)
    assert refused.value.why == (
        "output 'y' was tried only on inputs that hold one number throughout"
    )
    assert sorted(tmp_path.iterdir()) == [net]


@pytest.mark.parametrize(("mode", "written"), [("auto", True), ("skip", False), ("require", None)])
def test_a_target_that_cannot_run_here(
    net: Path, tmp_path: Path, mode: VerifyMode, written: bool | None
) -> None:
    foreign = [name for name in ("sapphire-rapids", "znver4") if not runs_here(load_target(name))]
    if not foreign:
        pytest.skip("this CPU has every feature of sapphire-rapids and of znver4")
    output = tmp_path / "out"
    if written is None:
        with pytest.raises(VerificationError) as refused:
            compile(net, target=foreign[0], output=output, verify=mode)
        assert refused.value.what == "the library was not checked"
        assert "the library needs the CPU feature" in refused.value.why
        assert not output.exists()
        return
    artifact = compile(net, target=foreign[0], output=output, verify=mode)
    assert artifact.verification_path.exists() is written
    if written:
        assert json.loads(artifact.verification_path.read_text())["status"] == "not run"


def test_unknown_limit_name(net: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitError) as refused:
        compile(net, target="host", output=tmp_path / "out", limits={"ram_byte": 5})
    assert refused.value.what == "there is no limit ram_byte"
    assert refused.value.why.startswith("limits are: flash_bytes, ram_bytes, ")


def _batch(path: Path, output: Path, batch: int) -> tuple[int, ...]:
    artifact = compile(path, target="host", output=output, shapes={"x": (batch, 3, 8, 8)})
    return artifact.manifest.outputs[0].shape


def test_shapes_by_name(tmp_path: Path) -> None:
    path = save(conv_model(batch="N"), tmp_path / "m.onnx")
    assert [_batch(path, tmp_path / str(n), n) for n in (1, 3)] == [(1, 4, 8, 8), (3, 4, 8, 8)]


def test_another_model_replaces_an_older_artifact(net: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    compile(net, target="host", output=output, verify="skip")
    artifact = compile(
        save(dense_model(), tmp_path / "dense.onnx"), target="host", output=output, verify="skip"
    )
    assert artifact.manifest.model.name == "dense"
    assert [path.name for path in (output / "lib").iterdir() if path.suffix == ".so"] == [
        "libdense.so"
    ]


def test_jobs_do_not_change_a_byte(
    tmp_path: Path, models: Path, compiled: Callable[[str], compiler.Artifact]
) -> None:
    one = compiled("mlperf_tiny_ic_resnet8_f32")
    other = compile(
        models / "mlperf_tiny_ic_resnet8_f32.onnx",
        target="host",
        output=tmp_path / "out",
        threads=2,
        jobs=5,
        verify="skip",
    )
    assert replace(one, path=other.path) == other
