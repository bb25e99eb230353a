"""Artifacts of real models: as C programs see them, as the linker does, and when they are wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.artifact.link import interface_symbols
from compiler.artifact.manifest import Artifact, file_digest
from compiler.errors import VerificationError
from compiler.library import load
from compiler.onnx_import.load import load_model
from compiler.verify import check, verify
from tests import handmade

Compiled = Callable[[str], Artifact]

_MNIST, _KWS = "mnist_dscnn_f32", "kws_espeak_dscnn_qdq8"
_STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
_SYSTEM = ("-lm", "-lpthread")
# What a library may need: the C library by its names on Linux, and the loader itself.
_SYSTEM_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libpthread.so.0"),
    *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"),
}


def _compile(
    program: Path, source: str, artifacts: tuple[Artifact, ...], *libraries: str | Path
) -> Path:
    """Compile ``tests/c/<source>`` against the headers of `artifacts`."""
    includes = [f"-I{artifact.path / 'include'}" for artifact in artifacts]
    command = ["cc", *_STRICT, *includes, handmade.C_SOURCES / source, *libraries, *_SYSTEM]
    done = subprocess.run([*command, "-o", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def _run(program: Path, *arguments: str | Path, **environment: str) -> None:
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _output_of(*command: str | Path) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout


def _sample(models: Path, name: str) -> np.ndarray:
    with np.load(models / f"{name}_test.npz") as file:
        sample: np.ndarray = file["x"][7:8].astype(np.float32)
    return sample


def _in_python(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    """Return the only output, as one row."""
    with load(artifact.path) as library:
        (output,) = library.run({library.inputs[0].name: x}).values()
    return output.ravel()


@pytest.mark.parametrize("odd", [0, 1, 3])
@pytest.mark.parametrize("form", ["static", "shared"])
def test_c_program_gives_the_numbers_of_python(
    compiled: Compiled, models: Path, tmp_path: Path, form: str, odd: int
) -> None:
    """Bit by bit: the code is the same. Also where tensors begin at odd elements."""
    artifact = compiled(_MNIST)
    library = artifact.static_library_path if form == "static" else artifact.library_path
    where = f"-Wl,-rpath,{library.parent}"
    program = _compile(tmp_path / "run", "mnist_file.c", (artifact,), library, where)
    image = _sample(models, "mnist")
    image.tofile(tmp_path / "in")
    _run(program, tmp_path / "in", tmp_path / "out", str(odd))
    logits = np.fromfile(tmp_path / "out", np.float32)
    np.testing.assert_array_equal(logits, _in_python(artifact, image))
    assert logits.std() > 0.1  # an answer, not zeros


def _with_instrumented_runtime(folder: Path, artifact: Artifact) -> tuple[Path, ...]:
    """Return objects: kernels and weights as delivered, the C sources under ThreadSanitizer."""
    folder.mkdir()
    subprocess.run(["ar", "x", artifact.static_library_path], cwd=folder, check=True)
    kept = [path for path in folder.iterdir() if path.name.startswith("kernel_")]
    source, prefix = artifact.path / "src", artifact.manifest.symbol_prefix
    flags = ["-std=c99", "-O1", "-g", "-fPIC", "-fsanitize=thread", f"-DTUNESMITH_PREFIX={prefix}"]
    includes = [f"-I{source}", f"-I{artifact.path / 'include'}"]
    for number, file in enumerate(sorted(source.rglob("*.[cS]"))):
        made = folder / f"own_{number}.o"
        subprocess.run(["cc", *flags, *includes, "-c", file, "-o", made], check=True)
        kept.append(made)
    return tuple(sorted(kept))


@pytest.mark.parametrize("runtime", ["as-delivered", "instrumented"])
def test_two_models_and_four_threads_under_thread_sanitizer(
    compiled: Compiled, models: Path, tmp_path: Path, runtime: str
) -> None:
    artifacts = (compiled(_MNIST), compiled(_KWS))
    parts = [artifact.static_library_path for artifact in artifacts]
    if runtime == "instrumented":
        folders = (tmp_path / "0", tmp_path / "1")
        made = map(_with_instrumented_runtime, folders, artifacts)
        parts = [path for paths in made for path in paths]
    program = _compile(tmp_path / "both", "mnist_and_kws.c", artifacts, *parts, "-fsanitize=thread")
    samples = (_sample(models, "mnist"), _sample(models, "kws"))
    for name, sample in zip(("image", "sound"), samples, strict=True):
        sample.tofile(tmp_path / name)
    files = ("image", "sound", "logits", "words")
    _run(program, *(tmp_path / name for name in files), TSAN_OPTIONS="exitcode=66")
    for artifact, sample, name in zip(artifacts, samples, ("logits", "words"), strict=True):
        got = np.fromfile(tmp_path / name, np.float32)
        np.testing.assert_array_equal(got, _in_python(artifact, sample))


@pytest.mark.parametrize("name", [_MNIST, _KWS, "mlperf_tiny_vww_mobilenetv1_f32"])
def test_shared_library_needs_libc_and_shows_the_interface(compiled: Compiled, name: str) -> None:
    if shutil.which("readelf") is None or shutil.which("nm") is None:
        pytest.skip("no readelf and nm: binutils are not installed")
    artifact = compiled(name)
    dynamic = _output_of("readelf", "-d", "-W", artifact.library_path)
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "NEEDED" in line}
    assert "libc.so.6" in needed
    assert needed <= _SYSTEM_LIBRARIES
    assert "TEXTREL" not in dynamic
    assert "RUNPATH" not in dynamic
    assert "RPATH" not in dynamic
    stack = [
        line
        for line in _output_of("readelf", "-l", "-W", artifact.library_path).splitlines()
        if "GNU_STACK" in line
    ]
    assert [line.split()[-2] for line in stack] == ["RW"]  # not executable
    symbols = _output_of("nm", "-D", "--defined-only", artifact.library_path).splitlines()
    assert {line.split()[-1] for line in symbols} == set(interface_symbols(name))
    missing = _output_of("nm", "-D", "--undefined-only", artifact.library_path).splitlines()
    assert all("@GLIBC" in line or line.split()[0] == "w" for line in missing), missing


def test_shared_library_has_nothing_for_debuggers(compiled: Compiled) -> None:
    """TVM's objects describe lines of files that do not exist."""
    artifact = compiled(_MNIST)
    static = _output_of("readelf", "-SW", artifact.static_library_path)
    assert ".debug_info" in static  # or this test shows nothing
    assert ".debug" not in _output_of("readelf", "-SW", artifact.library_path)


def test_every_symbol_of_a_static_library_carries_the_model(compiled: Compiled) -> None:
    """So that any two models can be linked into one program."""
    for name in (_MNIST, _KWS):
        lines = _output_of("nm", "-g", "--defined-only", compiled(name).static_library_path)
        symbols = [line.split()[-1] for line in lines.splitlines() if len(line.split()) == 3]
        assert len(symbols) > 20
        assert [symbol for symbol in symbols if not symbol.startswith(name)] == []


def test_cmake_builds_the_example(compiled: Compiled, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake: the example's CMakeLists.txt is not tried")
    artifact = compiled(_MNIST)
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", artifact.path, "-B", build], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    ramp = (np.arange(784) % 17 / 16).astype(np.float32).reshape(1, 1, 28, 28)
    wanted = _in_python(artifact, ramp)
    for name in ("example_static", "example_shared"):
        head, _, numbers = _output_of(build / name, "ramp").strip().partition(": ")
        assert head == "logits"
        np.testing.assert_array_equal(np.array(numbers.split(), np.float32), wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A kernel call that a test makes wrong."""

    index: int
    kernel: str
    nodes: tuple[str, ...]
    symbol: str
    input_count: int
    pointer_count: int


def _call(artifact: Artifact, index: int) -> Call:
    item = artifact.report()["kernels"][index]
    scratch = len(item["scratch_bytes"]) + (item["worker_scratch_bytes"] > 0)
    return Call(
        index=index,
        kernel=item["kernel"],
        nodes=tuple(item["onnx_nodes"]),
        symbol=item["phases"][-1]["symbol"],
        input_count=len(item["inputs"]),
        pointer_count=len(item["inputs"]) + len(item["outputs"]) + scratch,
    )


def _with_new_digests(folder: Path) -> None:
    """A wrong library is not a damaged one: the manifest says that it was made like this."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for name in (manifest["shared_library"], manifest["static_library"]):
        manifest["files"][name] = file_digest(folder / name)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _relinked_with_a_wrong_kernel(artifact: Artifact, folder: Path, call: Call) -> Path:
    """Return a copy whose kernel adds 1 to the first element that it computes."""
    made = Path(shutil.copytree(artifact.path, folder / "wrong"))
    work = folder / "objects"
    work.mkdir()
    subprocess.run(["ar", "x", artifact.static_library_path], cwd=work, check=True)
    renamed = f"{call.symbol}=right_kernel"
    for path in work.glob("kernel_*.o"):
        subprocess.run(["objcopy", f"--redefine-sym={renamed}", path], check=True)
    parameters = ", ".join(f"void *p{i}" for i in range(call.pointer_count))
    arguments = ", ".join(f"p{i}" for i in range(call.pointer_count))
    (work / "wrong.c").write_text(
        f"#include <stdint.h>\nvoid right_kernel({parameters}, int32_t, int32_t);\n"
        f"void {call.symbol}({parameters}, int32_t begin, int32_t end) {{\n"
        f"  right_kernel({arguments}, begin, end);\n"
        f"  if (begin == 0) ((float *)p{call.input_count})[0] += 1.0f;\n}}\n",
        encoding="ascii",
    )
    flags = ("-std=c99", "-O1", "-fPIC", "-fvisibility=hidden", "-c")
    subprocess.run(["cc", *flags, "wrong.c", "-o", "wrong.o"], cwd=work, check=True)
    objects = sorted(str(path) for path in work.glob("*.o"))
    static, shared = (made / path.relative_to(artifact.path) for path in _libraries(artifact))
    static.unlink()
    subprocess.run(["ar", "rcs", static, *objects], check=True)
    # The version script of the real link: only the interface may be seen.
    shown = " ".join(f"{name};" for name in interface_symbols(artifact.manifest.symbol_prefix))
    (work / "map").write_text(f"{{ global: {shown} local: *; }};\n", encoding="ascii")
    script = f"-Wl,--version-script={work / 'map'}"
    subprocess.run(["cc", "-shared", script, *objects, *_SYSTEM, "-o", shared], check=True)
    _with_new_digests(made)
    return made


def _libraries(artifact: Artifact) -> tuple[Path, Path]:
    return artifact.static_library_path, artifact.library_path


@pytest.mark.parametrize("index", [0, 4, 10])
def test_wrong_kernel_is_named_with_its_nodes(
    compiled: Compiled, models: Path, tmp_path: Path, index: int
) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("no objcopy: binutils are not installed")
    artifact = compiled(_MNIST)
    call = _call(artifact, index)
    wrong = _relinked_with_a_wrong_kernel(artifact, tmp_path, call)
    with pytest.raises(VerificationError) as caught:
        verify(wrong, models / f"{_MNIST}.onnx")
    nodes = ", ".join(call.nodes)
    assert f"kernel {index} {call.kernel} (" in caught.value.why
    assert f"; ONNX nodes: {nodes}) is the first that differs" in caught.value.why


def _with_a_wrong_weight(artifact: Artifact, folder: Path, call_index: int) -> Path:
    """Return a copy in which one byte of one weight of that call is another, in both libraries."""
    made = Path(shutil.copytree(artifact.path, folder / "wrong"))
    report = artifact.report()
    call = report["kernels"][call_index]
    values = [report["values"][number] for number in call["inputs"]]
    weight = next(value for value in values if value["kind"] == "constant")
    prefix = artifact.manifest.symbol_prefix
    blob = (artifact.path / "src" / f"{prefix}_weights.bin").read_bytes()
    floats = np.frombuffer(blob, np.float32, np.prod(weight["shape"]), weight["offset"])
    largest = int(np.abs(floats).argmax())
    byte = weight["offset"] + 4 * largest + 3  # sign and most of the exponent, little endian
    for library in _libraries(artifact):
        path = made / library.relative_to(artifact.path)
        data = bytearray(path.read_bytes())
        start = data.find(blob)
        assert start > 0
        data[start + byte] ^= 0x80  # the other sign
        path.write_bytes(data)
    _with_new_digests(made)
    return made


def test_wrong_weight_is_named_by_its_kernel(
    compiled: Compiled, models: Path, tmp_path: Path
) -> None:
    artifact = compiled(_MNIST)
    wrong = _with_a_wrong_weight(artifact, tmp_path, 4)
    result = check(wrong, load_model(models / f"{_MNIST}.onnx"))
    assert result.status == "failed"
    assert [kernel.index for kernel in result.kernels if not kernel.passed] == [4]
    call = _call(artifact, 4)
    assert f"ONNX nodes: {', '.join(call.nodes)}) is the first that differs" in result.reason


def test_another_file_of_the_same_interface_is_named(
    compiled: Compiled, models: Path, tmp_path: Path
) -> None:
    """The library is right, but not for this file: the same network trained otherwise."""
    artifact = shutil.copytree(compiled(_MNIST).path, tmp_path / "copy")
    proto = onnx.load(models / f"{_MNIST}.onnx")
    weight = next(w for w in proto.graph.initializer if len(w.dims) == 4)
    changed = numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name)
    weight.CopyFrom(changed)
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(VerificationError) as caught:
        verify(artifact, tmp_path / "other.onnx")
    assert caught.value.why.endswith(
        "; this is not the ONNX file that was compiled (another sha256)"
    )


@pytest.mark.parametrize("name", [_MNIST, "mnist_dscnn_qdq8", _KWS])
def test_every_kernel_agrees_alone(compiled: Compiled, models: Path, name: str) -> None:
    result = check(compiled(name).path, load_model(models / f"{name}.onnx"), per_kernel=True)
    assert result.status == "passed", result.reason
    assert len(result.kernels) == len(compiled(name).report()["kernels"])
    assert all(kernel.passed for kernel in result.kernels)
    compared = [kernel for kernel in result.kernels if kernel.comparisons]
    assert len(compared) >= 0.8 * len(result.kernels)  # most have an ONNX value to compare with
