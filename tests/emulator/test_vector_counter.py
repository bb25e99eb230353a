"""Vector instructions are told apart and counted: a program whose instructions are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.vector_registers import main, measure
from compiler.errors import NotRunnableError
from compiler.runners.instruction_counter import VECTORS, InstructionCounter
from compiler.runners.qemu_user import emulator_of
from compiler.target_spec import load_target
from compiler.toolchain import find_toolchain, run_tool, static_program_command
from tests.onnx_models import conv_net_model, save

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64"),
]
NO_VECTORS = (
    *("ptrue p0.s", "whilelo p1.s, x1, x2", "cntw x3", "incb x3", "addvl x4, x4, #1"),
    *("ptest p0, p1.b", "and p2.b, p0/z, p1.b, p0.b", "incp x3, p0.s", "zip1 p2.s, p0.s, p1.s"),
    *("str p0, [x0]", "ldr p1, [x0]", "prfw pldl1keep, p0, [x0, #1, mul vl]"),
    *("fadd s1, s2, s3", "ldr d1, [x0]", "stp s1, s2, [x0]", "ldp d1, d2, [x0]", "fmov s1, w3"),
)
SCALABLE = (
    *("ld1w {z0.s}, p0/z, [x0]", "fmla z1.s, p0/m, z0.s, z0.s", "dup z2.s, w3", "incw z3.s"),
    *("cmpgt p1.s, p0/z, z0.s, #3", "fcmgt p1.s, p0/z, z0.s, z1.s", "str z0, [x0]"),
    *("st1w {z0.s}, p0, [x0]", "movprfx z3, z0", "incp z3.s, p0.s", "lasta s1, p0, z0.s"),
)
FIXED = (
    *("ldr q0, [x0]", "stp q0, q1, [x0]", "fadd v0.4s, v0.4s, v1.4s", "fadd v2.2s, v2.2s, v1.2s"),
    *("ld1r {v1.4s}, [x0]", "movi v0.2d, #0", "dup v1.4s, w3", "umov w3, v0.s[1]"),
)
PROGRAM = """#include <stdlib.h>
static float memory[4096] __attribute__((aligned(256)));
int main(int argc, char **argv)
{
    long runs = atol(argv[argc - 1]);
    while (runs-- > 0) {
        __asm__ volatile(".arch_extension sve\\n\\tmov x0, %%0\\n\\tBODY" : : "r"(memory)
            : "memory", "x0", "x1", "x2", "x3", "x4", "cc", "v0", "v1", "v2", "v3", "v4");
    }
    return 0;
}
"""


def test_instructions_of_each_kind(tmp_path: Path) -> None:
    spec = load_target("neoverse-v1")
    body = "\\n\\t".join((*NO_VECTORS, *SCALABLE, *SCALABLE, *FIXED))
    (tmp_path / "program.c").write_text(PROGRAM.replace("BODY", body).replace("%%", "%"))
    cc = static_program_command(find_toolchain(spec.toolchain.cc))
    run_tool((*cc, "-O1", "-o", "program", "program.c"), folder=tmp_path)
    emulator = emulator_of(spec.runner.command, spec.name, spec.llvm.triple)
    counter = InstructionCounter.build(emulator, tmp_path, VECTORS)
    if counter is None:
        pytest.skip("this QEMU takes no plugins")

    def start(runs: int) -> None:
        words = ("program", str(runs))
        emulator.check(emulator.start(words, tmp_path, counter.emulator_options))

    instructions, scalable, fixed = counter.numbers_of_one_run(start)
    assert (scalable, fixed) == (2 * len(SCALABLE), len(FIXED))
    # The loop and the address around it are a few more.
    assert 0 < instructions - scalable - fixed - len(NO_VECTORS) < 10


def test_benchmark_prints_the_share(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    done = CliRunner().invoke(main, [str(path), "--json"], catch_exceptions=False)
    (row,) = json.loads(done.stdout)
    assert row["scalable_share"] > 0.9
    assert row["scalable_count"] > 100
    neon = measure(path, "cortex-a72")
    assert (neon.scalable_count, neon.scalable_share) == (0, 0.0)
    assert neon.fixed_count > 100
    assert neon.multiply_accumulates == row["multiply_accumulates"] > 0


@pytest.mark.slow
def test_share_of_a_convolutional_network(models: Path) -> None:
    row = measure(models / "mlperf_tiny_ic_resnet8_f32.onnx", "neoverse-v1")
    assert row.scalable_share > 0.99  # measured: 0.9986
    assert row.instructions_for_each_mac < 0.22  # measured: 0.2126


def test_benchmark_refuses_other_processors(tmp_path: Path) -> None:
    path = save(conv_net_model(), tmp_path / "net.onnx")
    with pytest.raises(NotRunnableError) as caught:
        measure(path, "rv64gc")
    assert caught.value.what == "vector instructions are not counted for rv64gc"
