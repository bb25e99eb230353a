"""Candidates for other processors: counted in QEMU, checked, and caught when they are wrong."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import NotRunnableError, OtherProcessorError, TargetError
from compiler.onnx_import.load import load_model
from compiler.pipeline import compile as compile_model
from compiler.runners.open_runner import open_runner
from compiler.target_spec import TargetSpec, load_target
from compiler.tuner.emulator_runner import EmulatorRunner
from compiler.tuner.trial import KernelData
from compiler.verification_inputs import draw_inputs
from tests.planted_trials import DATA, FAULTS, GIVEN, ITEMS, planted
from tests.trial_kernels import trial_kernels

# With NEON, SVE and RISC-V's word sums; C with pairs, and Helium: float and int8.
CASES = (
    ("cortex-a72", "mlperf_tiny_ic_resnet8_f32"),
    ("neoverse-v1", "mlperf_tiny_ic_resnet8_f32"),
    ("neoverse-v1", "mlperf_tiny_ic_resnet8_qdq8"),
    ("rv64gc", "mlperf_tiny_kws_dscnn_qdq8"),
    ("cortex-m4f", "mlperf_tiny_kws_dscnn_qdq8"),
    ("cortex-m55", "mlperf_tiny_ic_resnet8_f32"),
    ("cortex-m55", "mlperf_tiny_ic_resnet8_qdq8"),
)


def needs_tools(target: str) -> TargetSpec:
    spec = load_target(target)
    if shutil.which(spec.runner.command[0]) is None:
        pytest.skip(f"needs {spec.runner.command[0]}")
    if spec.toolchain.cc[0] != "zig" and shutil.which(spec.toolchain.cc[0]) is None:
        pytest.skip(f"needs {spec.toolchain.cc[0]}")
    return spec


@pytest.fixture(scope="module", params=["cortex-a72", "cortex-m4f"])
def runner(request: pytest.FixtureRequest) -> Iterator[EmulatorRunner]:
    with EmulatorRunner(needs_tools(request.param), timeout_s=2) as runner:
        yield runner


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> TargetSpec:
    return load_target(request.node.callspec.params["runner"])


@pytest.mark.emulator
@pytest.mark.parametrize(("target", "name"), CASES)
def test_kernels_of_a_model_add_up_to_its_instructions(
    target: str, name: str, models: Path, tmp_path: Path
) -> None:
    spec, path = needs_tools(target), models / f"{name}.onnx"
    artifact = compile_model(path, target=target, output=tmp_path, exact=True, verify="skip")
    with open_runner(artifact) as whole:
        counted = whole.run([draw_inputs(load_model(path), 0)], count=True).instruction_count
    total = 0.0
    with EmulatorRunner(spec) as runner:
        for one in trial_kernels(path, target):
            measured = runner.measure(one.kernel, one.data)
            assert (measured.outcome, measured.reason) == ("passed", "")
            assert len(measured.values) == 3
            assert len(set(measured.values)) == 1  # counted three times, and the same each time
            total += one.calls * measured.values[0]
    assert counted is not None
    # The run also checks its arguments and finds each buffer; measured 0.002 to 0.026 % more.
    assert total == pytest.approx(counted, rel=0.001)


@pytest.mark.emulator
def test_right_kernel(runner: EmulatorRunner, spec: TargetSpec, tmp_path: Path) -> None:
    once = planted(spec, tmp_path)
    twice = planted(spec, tmp_path, "out[begin] = in[begin]; out[begin] += 2 * in[begin];")
    first, second = runner.measure_in_turns([once, twice], DATA, 5)
    assert (first.outcome, second.outcome) == ("passed", "passed")
    assert ITEMS < first.values[0] <= second.values[0]
    assert runner.name == "emulator"
    assert runner.unit == "instructions"
    assert spec.runner.command[0] in runner.conditions
    assert runner.slots >= 1


@pytest.mark.emulator
@pytest.mark.parametrize(("body", "outcome", "said"), FAULTS)
def test_planted_kernel(
    runner: EmulatorRunner,
    spec: TargetSpec,
    tmp_path: Path,
    body: str,
    outcome: str,
    said: str,
) -> None:
    measured = runner.measure(planted(spec, tmp_path, body), DATA)
    assert (measured.outcome, measured.values) == (outcome, ())
    assert said in measured.reason
    assert measured.reason
    right = planted(spec, tmp_path)
    assert runner.measure(right, DATA).outcome == "passed"  # nothing of it stays


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("target", "body", "said"),
    [
        ("cortex-a72", "*(volatile int32_t *)0 = 1;", "signal SIGSEGV"),
        ("cortex-a72", "in[begin] = 0;", "signal SIGSEGV"),  # inputs are not the kernel's
        ("cortex-a72", '__asm__ volatile(".word 0");', "signal SIGILL"),
        ("cortex-m4f", "__builtin_trap();", "the processor reports a fault"),
        ("cortex-m4f", '__asm__ volatile("mov sp, %0\\n udf #0" : : "r"(0));', "Lockup"),
    ],
)
def test_how_a_kernel_crashes_is_said(target: str, body: str, said: str, tmp_path: Path) -> None:
    spec = needs_tools(target)
    with EmulatorRunner(spec) as runner:
        measured = runner.measure(planted(spec, tmp_path, body), DATA)
    assert measured.outcome == "crashed"
    assert said in measured.reason


@pytest.mark.emulator
def test_threads_measure_side_by_side(
    runner: EmulatorRunner, spec: TargetSpec, tmp_path: Path
) -> None:
    kernel = planted(spec, tmp_path)
    start = threading.Barrier(4)

    def measure(factor: int) -> tuple[str, tuple[float, ...]]:
        data = KernelData(
            key=f"by {factor}", inputs=(factor * GIVEN,), expected=(3 * factor * GIVEN,)
        )
        start.wait()
        measured = runner.measure(kernel, data)
        return measured.outcome, measured.values

    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(measure, range(4)))
    assert len(results) == 1
    assert results.pop()[0] == "passed"


@pytest.mark.emulator
def test_kernel_that_cannot_be_linked_is_not_built(
    runner: EmulatorRunner, spec: TargetSpec, tmp_path: Path
) -> None:
    body = "extern void absent(void); absent(); out[begin] = in[begin];"
    measured = runner.measure(planted(spec, tmp_path, body), DATA)
    assert measured.outcome == "not-built"
    assert "absent" in measured.reason


@pytest.mark.emulator
def test_operands_that_no_memory_of_the_board_holds(tmp_path: Path) -> None:
    spec = needs_tools("cortex-m4f")  # 4 MB of RAM and 4 MB of flash
    kernel = planted(spec, tmp_path)
    large = np.zeros(5 << 20, np.uint8)
    with EmulatorRunner(spec) as runner:
        given = runner.measure(kernel, KernelData(key="1", inputs=(large,), expected=(GIVEN,)))
        made = runner.measure(kernel, KernelData(key="2", inputs=(GIVEN,), expected=(large,)))
    assert given.outcome == "not-built"
    assert "fit no flash of cortex-m4f" in given.reason
    assert made.outcome == "not-built"
    assert "do not fit the board's RAM" in made.reason


def test_emulated_processor_without_what_candidates_use() -> None:
    spec = needs_tools("neoverse-v1")
    command = ("qemu-aarch64", "-cpu", "cortex-a72")
    with pytest.raises(OtherProcessorError) as caught:
        EmulatorRunner(replace(spec, runner=replace(spec.runner, command=command)))
    assert "lacks the CPU feature" in caught.value.what


def test_target_without_an_emulator() -> None:
    with pytest.raises(TargetError) as caught:
        EmulatorRunner(load_target("x86-64-v3"))
    assert str(caught.value) == (
        "candidates for target x86-64-v3 cannot be measured in an emulator\n"
        "  why: its [runner] names none\n"
        "  fix: tune on this machine or on a board over RPC, or give the target an emulator"
    )


def test_emulator_that_is_not_there() -> None:
    spec = load_target("cortex-a72")
    absent = replace(spec, runner=replace(spec.runner, command=("qemu-absent",)))
    with pytest.raises(NotRunnableError, match="`qemu-absent` was not found"):
        EmulatorRunner(absent)
