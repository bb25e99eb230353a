"""Libraries loaded from Python."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest

from compiler import library_abi as abi
from compiler.cpu_features import CPUINFO_FLAGS
from compiler.errors import ArtifactError, InputError, LimitError, OtherMachineError
from compiler.library import Library, load
from compiler.library_arrays import TensorSpec, checked_inputs
from tests import handmade

_ATOL = 5e-5  # float32 sums of 64 products in two layers, numbers around 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.build(tmp_path_factory.mktemp("library") / "kws").path


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    with load(folder) as loaded:
        yield loaded


def _check(outputs: dict[str, np.ndarray], x: np.ndarray, seed: int = 1) -> None:
    wanted = handmade.expected(handmade.two_layers(seed), x)
    assert list(outputs) == ["y", "Y copy"]
    np.testing.assert_allclose(outputs["y"], wanted["y"], rtol=0, atol=_ATOL)
    np.testing.assert_array_equal(outputs["Y copy"], x)


def test_inputs_and_outputs_are_described(library: Library) -> None:
    assert library.inputs == (TensorSpec(name="in:put", dtype="float32", shape=(64, 64)),)
    assert [spec.name for spec in library.outputs] == ["y", "Y copy"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_right_numbers(folder: Path, threads: int) -> None:
    x = handmade.sample()
    with load(str(folder), threads=threads) as library:
        _check(library.run({"in:put": x}), x)
        _check(library.run({"in:put": -x}), -x)


def test_array_that_is_not_dense_or_aligned_is_copied(library: Library) -> None:
    x = handmade.sample()
    _check(library.run({"in:put": np.asfortranarray(x)}), x)
    _check(library.run({"in:put": np.repeat(x, 2, axis=0)[::2]}), x)
    odd = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(64, 64)
    assert not odd.flags.aligned
    _check(library.run({"in:put": odd}), x)


def test_many_threads_share_one_library(folder: Path) -> None:
    barrier = Barrier(4)

    def run(number: int) -> None:
        x = handmade.sample(number)
        barrier.wait()
        for _ in range(20):
            _check(shared.run({"in:put": x}), x)

    with load(folder, threads=2) as shared, ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))


def test_session_of_its_own(library: Library) -> None:
    x = handmade.sample()
    with library.session() as one, library.session(threads=3) as three:
        assert (one.threads, three.threads) == (1, 3)
        _check(one.run({"in:put": x}), x)
        _check(three.run({"in:put": x}), x)


def test_new_artifact_of_the_same_path_is_really_loaded(tmp_path: Path) -> None:
    """dlopen gives back the old library for an equal path."""
    x = handmade.sample()
    for seed in (1, 2):
        handmade.build(tmp_path / "kws", seed=seed)
        with load(tmp_path / "kws") as library:
            _check(library.run({"in:put": x}), x, seed)


def test_closed_library_and_session(folder: Path) -> None:
    library = load(folder)
    session = library.session()
    session.close()
    with pytest.raises(InputError) as caught:
        session.run({"in:put": handmade.sample()})
    assert str(caught.value) == (
        "the session is closed\n  why: its memory was given back\n  fix: make another session"
    )
    library.close()
    with pytest.raises(InputError) as caught:
        library.run({"in:put": handmade.sample()})
    assert str(caught.value) == (
        "the library is closed\n  why: its memory was given back\n  fix: load the artifact again"
    )


def _refusal(library: Library, **arrays: np.ndarray) -> str:
    with pytest.raises(InputError) as caught:
        library.run({name.replace("_", ":"): array for name, array in arrays.items()})
    return str(caught.value)


def test_missing_input(library: Library) -> None:
    assert _refusal(library) == (
        "input `in:put` is missing\n  why: the model needs all of its inputs\n"
        "  fix: add an array of float32[64, 64]"
    )


def test_unknown_input(library: Library) -> None:
    x = handmade.sample()
    assert _refusal(library, in_putt=x) == (
        "the model has no input `in:putt`\n  why: its inputs are: in:put\n"
        "  fix: did you mean `in:put`?"
    )
    assert _refusal(library, zzz=x).splitlines()[2] == "  fix: use one of these names"


def test_wrong_dtype(library: Library) -> None:
    assert _refusal(library, in_put=handmade.sample().astype(np.float64)) == (
        "input `in:put` is float64[64, 64]\n"
        "  why: the model was compiled for float32[64, 64]\n"
        "  fix: convert it, for example with array.astype('float32')"
    )
    swapped = handmade.sample().astype(">f4")
    assert _refusal(library, in_put=swapped).startswith("input `in:put` is >f4[64, 64]")


def test_wrong_shape(library: Library) -> None:
    assert _refusal(library, in_put=handmade.sample()[:1]) == (
        "input `in:put` is float32[1, 64]\n"
        "  why: the model was compiled for float32[64, 64]\n"
        "  fix: give it that shape, or compile the model with --shape in:put=1x64"
    )


def test_bfloat16_is_passed_as_bits() -> None:
    spec = TensorSpec(name="x", dtype="bfloat16", shape=(2,))
    bits = np.array([1, 2], np.uint16)
    assert checked_inputs((spec,), {"x": bits})[0] is bits


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads(folder: Path, threads: int) -> None:
    with pytest.raises(InputError) as caught:
        load(folder, threads=threads)
    assert str(caught.value) == (
        f"threads={threads} is not possible\n"
        "  why: the calling thread always takes part\n  fix: give 1 or more"
    )


def test_busy_session_is_refused(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C side's own check is in tests/c/rules.c; here its answer becomes an error."""
    session = library.session()
    monkeypatch.setattr(session, "_model", SimpleNamespace(session_run=lambda *_: abi.E_BUSY))
    with pytest.raises(InputError) as caught:
        session.run({"in:put": handmade.sample()})
    assert str(caught.value) == (
        "the session is running another call\n  why: its arena holds one call's values\n"
        "  fix: give each thread a session of its own, or call Library.run"
    )


def test_no_memory(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_model", SimpleNamespace(create=lambda *_: abi.E_MEMORY))
    with pytest.raises(LimitError) as caught:
        library.session(threads=3)
    assert str(caught.value) == (
        f"{library.artifact.path}: no session could be made\n"
        "  why: it needs 33,536 bytes and 3 threads; memory or threads could not be had\n"
        "  fix: free some memory, or use fewer threads"
    )


def test_code_for_another_cpu_is_refused_by_name(tmp_path: Path) -> None:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    lacking = [name for name in ("amx-tile", "sse4a") if CPUINFO_FLAGS[name] not in flags]
    if not lacking:
        pytest.skip("this CPU has both AMX and SSE4a")
    folder = handmade.build(tmp_path / "kws", features=("sse3", lacking[0])).path
    with pytest.raises(OtherMachineError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder} needs the CPU feature {lacking[0]}\n"
        "  why: it was compiled for host; this machine or its operating system does not offer "
        "that feature\n"
        "  fix: compile the model with --target host, or run it on such a machine"
    )


def test_code_for_another_architecture_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(OtherMachineError) as caught:
        load(folder)
    assert str(caught.value) == (
        f"{folder} was compiled for {handmade.TRIPLE}\n"
        "  why: this machine is aarch64 with linux\n"
        "  fix: compile the model for this machine, or run it where it was compiled for"
    )


def test_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Its digest is right, but it is no library: the manifest was made for it."""
    from compiler.artifact.manifest import file_digest

    folder = handmade.build(tmp_path / "kws").path
    shared = folder / "lib" / "libkws.so"
    shared.write_bytes(b"\x7fELF nothing")
    manifest = folder / "manifest.json"
    data = json.loads(manifest.read_text(encoding="utf-8"))
    data["files"]["lib/libkws.so"] = file_digest(shared)
    manifest.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    assert caught.value.what == f"{folder}: lib/libkws.so cannot be loaded"
    assert caught.value.fix == "compile the model again on this machine"


_IMPORTED = """
import sys
import compiler.library
print(sorted({name.partition(".")[0] for name in sys.modules} &
             {"tvm", "onnx", "onnxruntime", "jinja2", "click", "rich", "pandas"}))
"""


def test_loading_needs_numpy_only() -> None:
    done = subprocess.run(
        (sys.executable, "-c", _IMPORTED),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
