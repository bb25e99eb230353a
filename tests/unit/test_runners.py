"""Runners: chosen by the artifact's own words, clear about what is missing."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.artifact.manifest import MANIFEST_NAME, Artifact, read_artifact
from compiler.errors import InputError, NotRunnableError
from compiler.families import family_build
from compiler.runners.emulated_kernels import encoded_call
from compiler.runners.machine import this_machine
from compiler.runners.open_runner import open_runner
from compiler.runners.qemu_user import QemuUser, emulator_of
from compiler.runners.runner import Block
from compiler.target_spec import load_target
from compiler.verification.result import Status
from compiler.verify import check
from tests import handmade
from tests.checked_artifacts import Case, make_case

QEMU = ("qemu-aarch64", "-cpu", "cortex-a72")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("runners"))


@pytest.fixture
def saying(case: Case, tmp_path: Path) -> Callable[..., Artifact]:
    """A function that copies the artifact and changes words of its manifest."""

    def copy(table: str, **words: Any) -> Artifact:
        folder = tmp_path / "changed"
        shutil.copytree(case.artifact.path, folder)
        path = folder / MANIFEST_NAME
        manifest = json.loads(path.read_text())
        manifest[table] |= words
        path.write_text(json.dumps(manifest))
        return read_artifact(folder)

    return copy


def test_native_runner_gives_the_outputs_of_each_set(case: Case) -> None:
    sets = [{"in:put": handmade.sample(seed)} for seed in (0, 1)]
    with open_runner(case.artifact.path) as runner:
        result = runner.run(sets, count=True)
        assert runner.machine == this_machine()
        assert [spec.name for spec in runner.inputs] == ["in:put"]
        assert [spec.name for spec in runner.outputs] == ["y", "Y copy"]
    assert result.instruction_count is None  # nothing here counts them
    for given, outputs in zip(sets, result.outputs, strict=True):
        np.testing.assert_array_equal(outputs["Y copy"], given["in:put"])


def test_wrong_input_is_refused(case: Case) -> None:
    with open_runner(case.artifact) as runner, pytest.raises(InputError):
        runner.run([{"in:put": np.zeros(3, np.float32)}])


def test_target_without_runner(saying: Callable[..., Artifact]) -> None:
    artifact = saying("runner", kind="none")
    with pytest.raises(NotRunnableError) as caught:
        open_runner(artifact)
    assert str(caught.value) == (
        f"{artifact.path} cannot be run here\n"
        "  why: target host names no emulator\n"
        "  fix: copy the folder to a machine for which it was compiled "
        f"({handmade.TRIPLE})"
    )


def test_missing_emulator_is_one_clear_line(saying: Callable[..., Artifact]) -> None:
    artifact = saying("runner", kind="emulator", command=["qemu-hazel", "-cpu", "hazel"])
    with pytest.raises(NotRunnableError) as caught:
        open_runner(artifact)
    assert str(caught.value) == (
        "the emulator `qemu-hazel` was not found\n"
        "  why: target host is tried in it, and it is not on the PATH\n"
        "  fix: install it (Debian and Ubuntu: apt-get install qemu-user)"
    )


def test_missing_emulator_is_not_run_never_passed(
    saying: Callable[..., Artifact], case: Case
) -> None:
    artifact = saying("runner", kind="emulator", command=["qemu-hazel"])
    result = check(artifact.path, case.model)
    assert result.status is Status.NOT_RUN
    assert result.reason == (
        "the emulator `qemu-hazel` was not found: target host is tried in it, and it is not on "
        "the PATH"
    )


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'unable to find CPU model' >&2; exit 1", "unable to find CPU model"),
        ("exit 7", "it ended with status 7"),
        ("kill -ILL $$", "it ended with signal SIGILL"),
    ],
)
def test_emulator_that_fails(tmp_path: Path, script: str, why: str) -> None:
    program = tmp_path / "qemu-hazel"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    emulator = QemuUser(
        command=(str(program),), version="1", architecture="hazel", target_name="hazel-m4"
    )
    with pytest.raises(NotRunnableError) as caught:
        emulator.check(emulator.start(("program",), tmp_path))
    assert caught.value.why == why
    assert "`tunesmith targets show hazel-m4`" in caught.value.fix


@pytest.mark.skipif(shutil.which(QEMU[0]) is None, reason="needs qemu-aarch64")
def test_machine_of_an_emulator_is_named_as_one() -> None:
    machine = emulator_of(QEMU, "cortex-a72", "aarch64-unknown-linux-gnu").machine
    assert (machine.system, machine.architecture) == ("Linux", "aarch64")
    assert machine.cpu.startswith("emulated by qemu-aarch64 -cpu cortex-a72 (QEMU ")


def test_call_of_a_kernel_as_numbers() -> None:
    block = Block(content=np.zeros(24, np.uint8), offset=8)
    numbers = np.frombuffer(encoded_call([(3, 10), (4, 1)], [64, block]), np.uint64)
    assert numbers.tolist() == [2, 3, 10, 4, 1, 2, 0, 0, 64, 1, 24, 8]


def test_family_without_code_generation_is_refused() -> None:
    spec = replace(load_target("x86-64-v3"), family="abacus")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="target x86-64-v3 is of the family `abacus`") as caught:
        family_build(spec)
    assert "code is generated for: cpu" in str(caught.value)
