"""The Zephyr module and sample of an artifact: what can be checked without Zephyr.

Its files' words are checked, and the sample is run with a `printk` of this machine.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from compiler.target_spec import load_target
from tests.bare_library import STRICT, bare_artifact, host_mcu_spec, run_bare, sources
from tests.onnx_models import conv_net_model

# What the sample needs of Zephyr.
_PRINTK = """
#include <stdio.h>
#define printk printf
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return bare_artifact(conv_net_model(), tmp_path_factory.mktemp("bare"))


def text(artifact: Artifact, name: str) -> str:
    return (artifact.path / "zephyr" / name).read_text()


def test_module_names_what_is_there(artifact: Artifact) -> None:
    module = text(artifact, "module.yml")
    assert module.splitlines()[0] == "name: tunesmith_net"
    assert "cmake: zephyr" in module
    assert "kconfig: zephyr/Kconfig" in module
    listed = text(artifact, "CMakeLists.txt")
    assert "if(CONFIG_TUNESMITH_NET)" in listed
    for name in ("src/net.c", "src/net_weights.c", "src/runtime/run.c"):
        assert f"${{root}}/{name}" in listed
        assert (artifact.path / name).exists()


def test_sources_need_no_configuration_of_the_processor(artifact: Artifact) -> None:
    stack = host_mcu_spec().reserved_stack_bytes
    assert text(artifact, "Kconfig") == (
        "config TUNESMITH_NET\n"
        '\tbool "Model net, compiled by Tunesmith for host-mcu"\n'
        "\tselect REQUIRES_FULL_LIBC\n"
        "\thelp\n"
        "\t  Adds net_run. The caller gives it memory: see net.h.\n"
        f"\t  It needs up to {stack} bytes of the stack of the thread that calls it.\n"
        "\t  It uses the floating-point unit: set FPU, and FPU_SHARING if more threads do.\n"
    )


def test_sample_is_configured_for_the_fpu_if_there_is_one(
    artifact: Artifact, tmp_path: Path
) -> None:
    stack = host_mcu_spec().reserved_stack_bytes
    conf = f"CONFIG_TUNESMITH_NET=y\nCONFIG_MAIN_STACK_SIZE={stack}\n"
    with_fpu = conf + "CONFIG_FPU=y\nCONFIG_FPU_SHARING=y\n"
    assert text(artifact, "sample/prj.conf") == with_fpu
    spec = host_mcu_spec()
    spec = replace(spec, llvm=replace(spec.llvm, float_abi="soft"))
    made = bare_artifact(conv_net_model(), tmp_path, spec)
    assert text(made, "sample/prj.conf") == conf
    assert "FPU" not in text(made, "Kconfig")


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
def test_objects_need_the_processor_that_they_are_for(tmp_path: Path) -> None:
    made = bare_artifact(conv_net_model(), tmp_path, load_target("cortex-m55"))
    depends = [line for line in text(made, "Kconfig").splitlines() if "depends" in line]
    assert depends == ["\tdepends on FP_HARDABI", "\tdepends on ARMV8_1_M_MVEF"]


def test_sample_takes_the_module_from_its_own_artifact(artifact: Artifact) -> None:
    listed = text(artifact, "sample/CMakeLists.txt")
    root = "${CMAKE_CURRENT_SOURCE_DIR}/../.."
    assert f"list(APPEND EXTRA_ZEPHYR_MODULES {root})\nfind_package(Zephyr" in listed
    assert "target_sources(app PRIVATE main.c)" in listed


def built_sample(artifact: Artifact, folder: Path) -> Path:
    """The sample as a program of this machine."""
    header = folder / "zephyr/sys/printk.h"
    header.parent.mkdir(parents=True)
    header.write_text(_PRINTK)
    program = folder / "sample"
    flags = (*STRICT, "-Iinclude", "-Isrc", f"-I{folder}", "-DTUNESMITH_PREFIX=net")
    files = ("zephyr/sample/main.c", *sources(artifact))
    command = ("cc", *flags, "-ffp-contract=off", *files, "-lm", "-o", str(program))
    done = subprocess.run(command, cwd=artifact.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return program


def test_sample_prints_what_the_library_computes(artifact: Artifact, tmp_path: Path) -> None:
    program = built_sample(artifact, tmp_path)
    said = subprocess.run((str(program),), capture_output=True, text=True, check=True).stdout
    error, values = said.splitlines()
    assert error == "net: error 0"
    name, _, words = values.partition(": ")
    bits = np.array([int(word, 16) for word in words.split()], np.uint32)
    (tensor,) = artifact.manifest.inputs
    ramp = (np.arange(np.prod(tensor.shape)) % 17 / 16).astype(np.float32).reshape(tensor.shape)
    expected = run_bare(artifact, {tensor.name: ramp}, tmp_path)[name]
    np.testing.assert_array_equal(bits, expected.reshape(-1).view(np.uint32)[:16])
    assert len(set(bits)) > 1
