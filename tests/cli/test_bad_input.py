"""Bad input of every kind, as a user meets it: one screen of what, why and fix; nothing left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.artifact.manifest import Artifact
from tests.cli.conftest import Outcome
from tests.cli.refusals import assert_refused, listing
from tests.onnx_models import Dim, conv_model, make_model, save, weights
from tests.shipped_targets import SHIPPED

Tunesmith = Callable[..., Outcome]
Compiled = Callable[[str], Artifact]

_ROOT = Path(__file__).parent.parent.parent
_MODEL = _ROOT / "tests" / "models" / "mnist_dscnn_f32.onnx"
_TARGET = _ROOT / "target_specs" / "x86-64-v3.toml"
_TARGETS = ", ".join(("host", *SHIPPED))


@dataclass(frozen=True, kw_only=True, slots=True)
class BadCompile:
    """A command line that is refused: how its files are made, its words, and the three texts."""

    prepare: Callable[[Path], object]
    what: str
    why: str
    fix: str
    model: str = str(_MODEL)
    target: str = "host"
    output: str = "out"
    more: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _nothing(folder: Path) -> None:
    """The command line alone is wrong."""


def _text(folder: Path) -> None:
    (folder / "m.onnx").write_text("Dear reader, this is a letter.\n", encoding="ascii")


def _truncated(folder: Path) -> None:
    data = _MODEL.read_bytes()
    (folder / "m.onnx").write_bytes(data[: len(data) // 2])


def _without_its_data(folder: Path) -> None:
    path = folder / "m.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    (folder / "m.data").unlink()


def _unknown_operator(folder: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Sparkle", ["c"], ["y"], name="shine", domain="acme"),
    ]
    image = ("float32", [1, 3, 8, 8])
    model = make_model(
        nodes,
        inputs={"x": image},
        outputs={"y": ("float32", None)},
        constants={"w": weights(4, 3, 3, 3)},
        domains={"acme": 1},
    )
    save(model, folder / "m.onnx")


def _dynamic(folder: Path) -> None:
    shape: tuple[Dim, ...] = ("N", "height", 4)
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu")]
    ports = ({"x": ("float32", shape)}, {"y": ("float32", shape)})
    save(make_model(nodes, inputs=ports[0], outputs=ports[1]), folder / "m.onnx")


def _look_up(folder: Path) -> None:
    model = make_model(
        [helper.make_node("Gather", ["table", "index"], ["y"], name="look_up")],
        inputs={"index": ("int64", [2])},
        outputs={"y": ("float32", [2, 3])},
        constants={"table": weights(5, 3)},
    )
    save(model, folder / "m.onnx")


def _target_with(old: str, new: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        text = _TARGET.read_text(encoding="utf-8").replace('name = "x86-64-v3"', 'name = "mine"')
        assert old in text
        (folder / "mine.toml").write_text(text.replace(old, new), encoding="utf-8")

    return prepare


def _file_in_the_way(folder: Path) -> None:
    (folder / "out").write_text("my notes", encoding="ascii")


def _folder_in_the_way(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("years of work", encoding="ascii")


def _no_programs(folder: Path) -> None:
    (folder / "empty").mkdir()


def _zeros(folder: Path) -> None:
    np.savez(folder / "in.npz", input=np.zeros((1, 1, 28, 28), np.float32))


def _wrong_inputs(folder: Path) -> None:
    np.savez(folder / "in.npz", input=np.zeros((1, 1, 28, 27), np.float32))


BAD_COMPILES = {
    "not-onnx": BadCompile(
        prepare=_text,
        model="m.onnx",
        what="m.onnx: not an ONNX file",
        why="no protobuf message",
        fix="give an ONNX model",
    ),
    "no-such-file": BadCompile(
        prepare=_nothing,
        model="m.onnx",
        what="m.onnx: cannot be read",
        why="No such file or directory",
        fix="give the path of an ONNX file",
    ),
    "truncated": BadCompile(
        prepare=_truncated,
        model="m.onnx",
        what="m.onnx: the file is truncated or damaged",
        why="(44,298 bytes)",
        fix="download or export the model again",
    ),
    "missing-external-data": BadCompile(
        prepare=_without_its_data,
        model="m.onnx",
        what="m.onnx: the external data file `m.data` is missing",
        why="tensor `w`",
        fix="put `m.data` in the folder of the ONNX file",
    ),
    "unknown-operator": BadCompile(
        prepare=_unknown_operator,
        model="m.onnx",
        what="cannot be compiled: Sparkle",
        why="node `shine`",
        fix="replace these nodes",
    ),
    "unresolved-dimension": BadCompile(
        prepare=_dynamic,
        model="m.onnx",
        what="axis 1 (`height`) of input `x` is unknown",
        why="the compiler needs every size",
        fix="--shape x=1x128x4",
    ),
    "wrong-rank": BadCompile(
        prepare=_dynamic,
        model="m.onnx",
        more=("--shape", "x=1x2"),
        what="--shape x=1x2: rank 2 given, the input has rank 3",
        why="[N, height, 4]",
        fix="--shape x=1x128x4",
    ),
    "unknown-target": BadCompile(
        prepare=_nothing,
        target="x86-64-v5",
        what="there is no target `x86-64-v5`",
        why="neither a shipped target nor the path",
        fix=f"did you mean `x86-64-v4`? targets are: {_TARGETS}",
    ),
    "misspelt-key": BadCompile(
        prepare=_target_with("width_bits", "widht_bits"),
        target="mine.toml",
        what="mine.toml: unknown key `widht_bits` in [vector]",
        why="would be ignored",
        fix="rename it to `width_bits`",
    ),
    "missing-key": BadCompile(
        prepare=_target_with("width_bits = 256\n", ""),
        target="mine.toml",
        what="mine.toml: `width_bits` is missing in [vector]",
        why="no defaults",
        fix="add `width_bits`",
    ),
    "wrong-unit": BadCompile(
        prepare=_target_with("l2_bytes = 262_144", "l2_kib = 256"),
        target="mine.toml",
        what="mine.toml: unknown key `l2_kib` in [cache]: wrong unit",
        why="a key carries its unit",
        fix="rename it to `l2_bytes`",
    ),
    "no-tensor-cores": BadCompile(
        prepare=_nothing,
        more=("--precision", "tf32"),
        what="target host has no instructions for --precision tf32",
        why="its products are computed in: float32;",
        fix="leave out --precision, or choose one of: cuda-sm80,",
    ),
    "no-quantizers-at-the-borders": BadCompile(
        prepare=_nothing,
        more=("--io", "int8"),
        what="--io int8: the input `input` is not quantized at once",
        why="reads it as float",
        fix="compile without --io int8",
    ),
    "no-arena-of-the-caller": BadCompile(
        prepare=_nothing,
        more=("--io-memory", "arena"),
        what="target host has no --io-memory arena",
        why="a session owns its arena and hands it to nobody",
        fix="leave out --io-memory, or choose one of: cortex-m0plus,",
    ),
    "no-compiler-on-the-path": BadCompile(
        prepare=_no_programs,
        environment={"PATH": "empty", "CC": ""},
        what="no C compiler: `cc` was not found",
        why="not on the PATH",
        fix="apt-get install gcc",
    ),
    "compiler-of-CC-is-missing": BadCompile(
        prepare=_nothing,
        environment={"CC": "no-such-cc -m64"},
        what="no C compiler: `no-such-cc -m64` was not found",
        why="CC names it",
        fix="set CC to the command of one that is installed",
    ),
    "CC-is-no-compiler": BadCompile(
        prepare=_nothing,
        environment={"CC": "true"},
        what="`true` is no C compiler that can be used",
        why="does not answer -print-prog-name=ar",
        fix="set CC to the command of GCC or Clang",
    ),
    "output-below-a-file": BadCompile(
        prepare=_file_in_the_way,
        output="out/x",
        what="out/x cannot be written",
        why="Not a directory",
        fix="choose an output folder",
    ),
    "output-is-a-file": BadCompile(
        prepare=_file_in_the_way,
        what="out exists and is not an artifact",
        why="only an empty folder or an older artifact is replaced",
        fix="choose another output folder",
    ),
    "output-is-a-folder-of-the-user": BadCompile(
        prepare=_folder_in_the_way,
        what="out exists and is not an artifact",
        why="only an empty folder or an older artifact is replaced",
        fix="choose another output folder",
    ),
    "output-cannot-be-written": BadCompile(
        prepare=_nothing,
        output="/proc/tunesmith/out",  # neither root nor anyone else can make a folder there
        what="/proc/tunesmith/out cannot be written",
        why="No such file or directory",
        fix="choose an output folder",
    ),
    "inputs-exercise-nothing": BadCompile(
        prepare=_zeros,
        more=("--inputs", "in.npz"),
        what="the inputs tried do not exercise the model",
        why="inputs that hold one number throughout",
        fix="give real inputs with --inputs",
    ),
    "inputs-of-another-shape": BadCompile(
        prepare=_wrong_inputs,
        more=("--inputs", "in.npz"),
        what="input 'input' is float32[1, 1, 28, 27]",
        why="float32[1, 1, 28, 28]",
        fix="convert the array",
    ),
    "too-much-ram": BadCompile(
        prepare=_nothing,
        more=("--limit", "ram_bytes=50000"),
        what="bytes of RAM",
        why="the limit ram_bytes is 50,000; largest tensors: relu (75,264 bytes), ",
        fix="raise it with --limit ram_bytes=",
    ),
    "too-much-flash": BadCompile(
        prepare=_nothing,
        more=("--limit", "flash_bytes=50000"),
        what="bytes of flash",
        why="the limit flash_bytes is 50,000; largest weights: constant 1x12x12x1x1x8x8 (",
        fix="raise it with --limit flash_bytes=",
    ),
    "too-large-a-library": BadCompile(
        prepare=_nothing,
        more=("--limit", "library_bytes=50000"),
        what="the shared library has ",
        why="the limit library_bytes is 50,000",
        fix="raise it with --limit library_bytes=",
    ),
    "limit-that-nothing-measures": BadCompile(
        prepare=_nothing,
        more=("--limit", "instruction_count=50"),
        what="the limit instruction_count cannot be held",
        why="held are: flash_bytes, ram_bytes, library_bytes, latency_us",
        fix="leave instruction_count out",
    ),
}


@pytest.mark.parametrize("name", BAD_COMPILES)
def test_compile_is_refused_and_leaves_nothing(
    tunesmith: Tunesmith, tmp_path: Path, name: str
) -> None:
    case = BAD_COMPILES[name]
    case.prepare(tmp_path)
    before = listing(tmp_path)
    words = ("compile", case.model, "--target", case.target, "-o", case.output, *case.more)
    outcome = tunesmith(*words, **case.environment)
    assert_refused(outcome, case.what, case.why, case.fix)
    assert listing(tmp_path) == before


def test_refusal_as_json(tunesmith: Tunesmith) -> None:
    outcome = tunesmith("compile", _MODEL, "--target", "x86-64-v5", "-o", "out", "--json")
    assert (outcome.code, outcome.stdout) == (1, "")
    error = json.loads(outcome.stderr)["error"]
    assert error["kind"] == "TargetError"
    assert error["what"] == "there is no target `x86-64-v5`"


def test_older_artifact_survives_a_failed_compile(
    tunesmith: Tunesmith, tmp_path: Path, compiled: Compiled
) -> None:
    shutil.copytree(compiled("mnist_dscnn_f32").path, tmp_path / "out")
    _zeros(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = ("compile", _MODEL, "--target", "host", "-o", "out")
    assert tunesmith(*words, "--inputs", "in.npz").code == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_terminated_compile_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM, as `timeout` and batch systems send it, in the middle of the work."""
    words = ("compile", _MODEL, "--target", "host", "-o", tmp_path / "out")
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "compiler", *map(str, words)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not listing(tmp_path):
            time.sleep(0.01)  # until the folder that the artifact is made in is there
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert listing(tmp_path) == []


# Where a disk of so many KiB fills up, found by trying: sources, objects, libraries.
@pytest.mark.parametrize("size_kib", [16, 200, 600])
def test_full_disk(tmp_path: Path, size_kib: int) -> None:
    """On a real file system of that size, in a name space of its own."""
    _require_private_mounts(tmp_path)
    (tmp_path / "disk").mkdir()
    script = (
        f"mount -t tmpfs -o size={size_kib}k none disk && cd disk && "
        '"$@"; code=$?; echo left: $(ls -A); exit $code'
    )
    words = (sys.executable, "-m", "compiler", "compile", _MODEL, "--target", "host", "-o", "out")
    done = subprocess.run(
        ("unshare", "-rm", "sh", "-c", script, "sh", *map(str, words)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "left:\n")
    assert done.stderr.startswith("error: ")
    assert "No space left on device" in done.stderr
    assert "  fix: free some space" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert ".out-" not in done.stderr  # the name of the folder that is renamed at the end


def _require_private_mounts(folder: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare (util-linux): no small disk can be made")
    tried = ("unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder))
    if subprocess.run(tried, capture_output=True).returncode != 0:
        pytest.skip("this system lets no user mount in a name space: no small disk can be made")


def test_inputs_that_stop_onnxruntime(tunesmith: Tunesmith, tmp_path: Path) -> None:
    """An index out of bounds: the library goes to the nearest element, the reference stops."""
    _look_up(tmp_path)
    np.savez(tmp_path / "in.npz", index=np.array([0, 100]))
    outcome = tunesmith("compile", "m.onnx", "--target", "host", "-o", "o", "--inputs", "in.npz")
    what = "onnxruntime cannot run the model on these inputs"
    assert_refused(outcome, what, "idx=100 must be within the inclusive range [-5,4]", "--inputs")
    assert not (tmp_path / "o").exists()


def test_compile_says_nothing_but_its_result(tunesmith: Tunesmith, tmp_path: Path) -> None:
    """No warning of a library below, also where indices are looked up."""
    _look_up(tmp_path)
    outcome = tunesmith("compile", "m.onnx", "--target", "host", "-o", "out")
    assert (outcome.code, outcome.stderr) == (0, "")
