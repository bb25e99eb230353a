"""Boards over RPC: TVM's server runs on this machine, in processes of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.runners.machine import this_machine
from compiler.runners.open_runner import open_runner
from compiler.runners.rpc import RpcRunner
from compiler.verification.kernel_check import check_kernels
from tests import handmade
from tests.checked_artifacts import Case, make_case
from tests.rpc_board import (
    BoardProcess,
    at,
    start_server,
)

_PROGRAMS = Path(__file__).parents[2] / "compiler" / "runners" / "programs"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("rpc"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    with start_server(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
def runner(case: Case, server: BoardProcess) -> Iterator[RpcRunner]:
    """One session for all tests that need no other."""
    with open_runner(case.artifact, threads=2, board=at(server)) as runner:
        assert isinstance(runner, RpcRunner)
        yield runner


def test_outputs_of_each_set(case: Case, runner: RpcRunner) -> None:
    sets = [{"in:put": handmade.sample(seed)} for seed in (0, 1)]
    with open_runner(case.artifact) as native:
        expected = native.run(sets).outputs
    result = runner.run(sets, count=True)
    assert result.instruction_count is None  # TVM's server counts nothing
    for got, want in zip(result.outputs, expected, strict=True):
        assert list(got) == ["y", "Y copy"]
        for name, array in want.items():
            np.testing.assert_array_equal(got[name], array)


def test_library_is_sent_once_and_its_file_removed(server: BoardProcess, runner: RpcRunner) -> None:
    folder = server.wait_for(r"start serving at (\S+)")[-1]
    runner.run([{"in:put": handmade.sample()}])
    assert os.listdir(folder) == []
    assert len(server.wait_for(rf"load_module {folder}/tunesmith-\w+\.so")) == 1


def test_machine_is_the_board_by_its_own_words(runner: RpcRunner) -> None:
    here = this_machine()
    machine = runner.machine
    assert (runner.is_remote, runner.is_emulated) == (True, False)
    assert (machine.system, machine.architecture) == (here.system, here.architecture)
    assert machine.cpu == f"{here.cpu} (board host {platform.node()}, over RPC)"


def test_times_are_those_of_the_board(runner: RpcRunner) -> None:
    start = time.monotonic()
    seconds = runner.time({"in:put": handmade.sample()}, 7)
    assert len(seconds) == 7
    assert all(taken > 0 for taken in seconds)
    assert sum(seconds) < time.monotonic() - start


def test_timed_runs_are_cut_into_calls_that_end_in_time(
    runner: RpcRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(runner, "_session", _SlowSession(counts))
    assert runner.time({"in:put": handmade.sample()}, 5) == (0.2,) * 5
    assert counts == [1, 2, 2, 1]  # half a second for each call


class _SlowSession:
    """Runs take 0.2 s, answers may take 1 s."""

    timeout_s = 1

    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    def run(self, _: object, __: object, runs: int) -> tuple[tuple[int, ...], tuple[()]]:
        self._counts.append(runs)
        return (200_000_000,) * runs, ()


def test_wrong_input_is_refused_before_it_is_sent(runner: RpcRunner) -> None:
    with pytest.raises(InputError):
        runner.run([{"in:put": np.zeros(3, np.float32)}])


def test_kernels_read_the_weights_of_the_models_library(runner: RpcRunner, case: Case) -> None:
    checks = check_kernels(runner, case.model, {"in:put": handmade.sample()})
    assert [kernel.passed for kernel in checks] == [True] * 3


def test_structs_are_those_of_tvm(tmp_path: Path) -> None:
    """Offsets of our own declarations beside those of the headers in TVM's wheel."""
    tvm_ffi = pytest.importorskip("tvm_ffi")
    include = Path(tvm_ffi.__file__).parent / "include"
    members = [
        *(("ffi_tensor", "DLTensor", ours, theirs) for ours, theirs in _TENSOR_MEMBERS),
        ("ffi_any", "TVMFFIAny", "type_index", "type_index"),
        ("ffi_any", "TVMFFIAny", "value", "v_int64"),
    ]
    checks = [
        f'_Static_assert(offsetof({a}, {x}) == offsetof({b}, {y}), "{x}");'
        for a, b, x, y in members
    ]
    sizes = [("ffi_tensor", "DLTensor"), ("ffi_any", "TVMFFIAny")]
    checks += [f'_Static_assert(sizeof({a}) == sizeof({b}), "{a}");' for a, b in sizes]
    values = (
        ("FFI_OBJECT_BYTES", "sizeof(TVMFFIObject)"),
        ("FFI_INT", "kTVMFFIInt"),
        ("FFI_DLTENSOR", "kTVMFFIDLTensorPtr"),
        ("FFI_TENSOR", "kTVMFFITensor"),
    )
    checks += [f'_Static_assert({a} == (int){b}, "{a}");' for a, b in values]
    source = tmp_path / "layout.c"
    headers = '#include <stddef.h>\n#include <tvm/ffi/c_api.h>\n#include "tvm_ffi_abi.h"\n'
    source.write_text(headers + "\n".join(checks) + "\n")
    places = [f"-I{include}", f"-I{_PROGRAMS}"]
    subprocess.run(["cc", "-std=c11", "-fsyntax-only", *places, source], check=True)


_TENSOR_MEMBERS = (
    ("data", "data"),
    ("device", "device"),
    ("rank", "ndim"),
    ("dtype", "dtype"),
    ("shape", "shape"),
    ("strides", "strides"),
    ("byte_offset", "byte_offset"),
)
