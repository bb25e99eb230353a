"""Boards over RPC on the command line, named by a target spec or by options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.cli import exit_code
from compiler.pipeline import compile
from compiler.target_spec import load_target, runs_here
from compiler.target_trial import try_target
from tests.onnx_models import conv_net_model, save
from tests.rpc_board import BoardProcess, start_server

pytestmark = pytest.mark.skipif(
    not runs_here(load_target("x86-64-v3")), reason="the board is this machine, and no x86-64-v3"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """A target spec with a board, and what was compiled for it."""

    server: BoardProcess
    spec: Path
    model: Path
    artifact: Path


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("board")
    with start_server(folder) as server:
        spec = folder / "hazel.toml"
        spec.write_text(
            'schema_version = 1\nname = "hazel"\nsource = "made up"\ninherits = "x86-64-v3"\n'
            f'[runner]\nkind = "rpc"\nserver = "{server.endpoint}"\ntimeout_s = 30\n'
        )
        model = save(conv_net_model(), folder / "net.onnx")
        artifact = folder / "net-hazel"
        compile(model, target=spec, output=artifact, threads=1, limits={"latency_us": 1_000_000})
        yield Board(server=server, spec=spec, model=model, artifact=artifact)


def _verification(artifact: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((artifact / "verification.json").read_text())
    return document


def test_compile_checks_on_the_board(board: Board) -> None:
    verification = _verification(board.artifact)
    assert verification["status"] == "passed"
    assert "over RPC" in str(verification["machine"])
    # Once for the check and once for the limit on latency.
    assert len(board.server.wait_for("^.*load_module")) >= 2


def test_too_slow_on_the_board(
    board: Board, models: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    model = models / "mlperf_tiny_ad_autoencoder_f32.onnx"  # reads a megabyte of weights
    said = refused(
        *("compile", model, "--target", board.spec, "-o", tmp_path / "out"),
        *("--threads", "1", "--limit", "latency_us=1"),
    )
    assert "the limit latency_us is 1; median of 21 runs with 1 thread(s) on " in said
    assert "over RPC" in said


def test_run_and_verify_need_the_folder_only(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["run", str(board.artifact), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"][0]["dtype"] == "float32"
    words = ["verify", str(board.artifact), "--model", str(board.model), "--per-kernel"]
    assert exit_code(words) == 0
    assert capsys.readouterr().out.endswith("passed: all outputs within tolerance\n")
    assert _verification(board.artifact)["kernels"]


def test_bench_times_there(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    """A shipped target, the board by an option; more threads than processors here are no matter."""
    words = ["bench", str(board.model), "--target", "x86-64-v3", "--runs", "5", "--json"]
    threads = str(len(os.sched_getaffinity(0)) + 1)
    assert exit_code([*words, "--rpc", board.server.endpoint, "--threads", threads]) == 0
    result = json.loads(capsys.readouterr().out)
    ours, peer = result["models"][0]["engines"]
    assert (ours["engine"], peer["engine"]) == ("tunesmith", "onnxruntime")
    assert 0 < ours["minimum_us"] <= ours["median_us"]
    assert "over RPC" in ours["settings"]["machine"]
    assert peer["error"].startswith("not ")


def test_option_goes_before_what_the_folder_says(board: Board, refused: Callable[..., str]) -> None:
    said = refused("run", board.artifact, "--rpc", "127.0.0.1:1", "--rpc-timeout", "5")
    assert said.startswith("error: the board at 127.0.0.1:1 cannot be reached\n")


def test_targets_check(board: Board) -> None:
    trial = try_target(str(board.spec))
    assert (trial.status, trial.runner) == ("passed", f"rpc, board {board.server.endpoint}")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs words that are refused, and returns what was said."""

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert exit_code([str(word) for word in words]) == 1
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rpc", "hazel"), "--rpc 'hazel': an address is HOST:PORT"),
        (("--rpc-tracker", "lab:9190"), "--rpc-tracker without --rpc-key"),
        (("--rpc-key", "rpi4"), "neither --rpc nor --rpc-tracker"),
        (("--rpc", "b:1", "--rpc-tracker", "t:1", "--rpc-key", "k"), "--rpc and --rpc-tracker"),
        (("--rpc-timeout", "0", "--rpc", "b:1"), "Invalid value for '--rpc-timeout'"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert exit_code(["run", "folder", *words]) == 2
    assert said in capsys.readouterr().err
