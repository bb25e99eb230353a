"""The C interface as a C program sees it: from the headers alone, static and shared."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compiler.artifact.manifest import Artifact
from tests import handmade

_STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
_SYSTEM = ("-lm", "-lpthread")
# float32 sums of 64 products in two layers, numbers around 3: 64 * 2**-24 * 3 * 2
_TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def kws(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return handmade.build(tmp_path_factory.mktemp("kws") / "kws-host")


@pytest.fixture(scope="module")
def beta(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return handmade.build(tmp_path_factory.mktemp("beta") / "beta-host", name="beta", seed=2)


def _compile(
    program: Path,
    source: str,
    artifacts: tuple[Artifact, ...],
    *more: str,
    dialect: tuple[str, ...] = _STRICT,
) -> Path:
    """Compile ``tests/c/<source>`` against the headers of `artifacts`."""
    includes = [f"-I{artifact.path / 'include'}" for artifact in artifacts]
    command = ["cc", *dialect, *includes, str(handmade.C_SOURCES / source), *more, *_SYSTEM]
    done = subprocess.run([*command, "-o", str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def _run(
    program: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(environment or {})},
    )


def _library(artifact: Artifact, form: str) -> tuple[str, ...]:
    if form == "static":
        return (str(artifact.static_library_path),)
    return (str(artifact.library_path), f"-Wl,-rpath,{artifact.library_path.parent}")


def _recompiled(folder: Path, artifact: Artifact, sanitizer: str) -> tuple[str, ...]:
    """Return objects of everything in `artifact`, compiled with `sanitizer`."""
    prefix = artifact.manifest.symbol_prefix
    source = artifact.path / "src"
    flags = ("-O1", "-g", "-fPIC", sanitizer, f"-DTUNESMITH_PREFIX={prefix}", "-std=c99")
    symbols = (
        f"-DSYMBOL={prefix}_dense",
        f"-DSYMBOL_0={prefix}__center_0",
        f"-DSYMBOL_1={prefix}__center_1",
    )
    kernels = (handmade.C_SOURCES / "dense.c", handmade.C_SOURCES / "center.c")
    objects = []
    for number, file in enumerate((*sorted(source.rglob("*.[cS]")), *kernels)):
        made = folder / f"{prefix}_{number}.o"
        includes = (f"-I{source}", f"-I{artifact.path / 'include'}")
        command = ("cc", *flags, *symbols, *includes, "-c", str(file), "-o", str(made))
        subprocess.run(command, check=True)
        objects.append(str(made))
    return tuple(objects)


@pytest.mark.parametrize("form", ["static", "shared"])
def test_program_from_headers_gives_right_numbers(kws: Artifact, tmp_path: Path, form: str) -> None:
    program = _compile(tmp_path / "run", "run_file.c", (kws,), *_library(kws, form))
    x = handmade.sample()
    x.tofile(tmp_path / "x")
    done = _run(program, *(str(tmp_path / name) for name in ("x", "y", "copy")))
    assert done.returncode == 0, done.stderr
    wanted = handmade.expected(handmade.two_layers(seed=1), x)
    shape = (handmade.SIZE, handmade.SIZE)
    y = np.fromfile(tmp_path / "y", np.float32).reshape(shape)
    np.testing.assert_allclose(y, wanted["y"], rtol=0, atol=_TOLERANCE)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "copy", np.float32).reshape(shape), x)


@pytest.mark.parametrize("form", ["static", "shared"])
def test_pointer_option_and_session_rules(kws: Artifact, tmp_path: Path, form: str) -> None:
    done = _run(_compile(tmp_path / "rules", "rules.c", (kws,), *_library(kws, form)))
    assert done.returncode == 0, done.stdout


def test_rules_hold_under_address_sanitizer(kws: Artifact, tmp_path: Path) -> None:
    sanitizer = "-fsanitize=address,undefined"
    objects = _recompiled(tmp_path, kws, sanitizer)
    flags = (sanitizer, "-fno-sanitize-recover=all")
    done = _run(_compile(tmp_path / "rules", "rules.c", (kws,), *objects, *flags))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recompile", [False, True], ids=["as-delivered", "instrumented"])
def test_two_models_and_four_threads_under_thread_sanitizer(
    kws: Artifact, beta: Artifact, tmp_path: Path, recompile: bool
) -> None:
    """As delivered, only the program is instrumented; else runtime and kernels are, too."""
    sanitizer = "-fsanitize=thread"
    if recompile:
        parts = tuple(p for a in (kws, beta) for p in _recompiled(tmp_path, a, sanitizer))
    else:
        parts = (*_library(kws, "static"), *_library(beta, "static"))
    program = _compile(tmp_path / "two", "two_models.c", (kws, beta), *parts, sanitizer)
    done = _run(program, environment={"TSAN_OPTIONS": "exitcode=66"})
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


@pytest.mark.parametrize(("threads", "spin_us"), [(2, 100), (2, -1), (5, 20)])
def test_every_task_of_a_fork_join_runs_once(
    kws: Artifact, tmp_path: Path, threads: int, spin_us: int
) -> None:
    source = kws.path / "src"
    flags = ("-fsanitize=thread", "-g", f"-I{source}", "-DTUNESMITH_PREFIX=kws")
    pool = str(source / "runtime" / "pool.c")
    program = _compile(tmp_path / "stress", "pool_stress.c", (kws,), pool, *flags)
    done = _run(program, str(threads), str(spin_us), "2000")
    assert done.returncode == 0, done.stderr


def test_host_that_knows_only_the_fixed_header(kws: Artifact, tmp_path: Path) -> None:
    program = _compile(tmp_path / "host", "host.c", (kws,), "-ldl")
    done = _run(program, str(kws.library_path), "kws_model")
    assert done.returncode == 0, done.stderr
    x = np.zeros((handmade.SIZE, handmade.SIZE), np.float32)
    y = handmade.expected(handmade.two_layers(seed=1), x)["y"]
    name, _, total = done.stdout.splitlines()[0].partition(" ")
    assert name == "y"
    assert float(total) == pytest.approx(float((y**2).sum()), rel=1e-4)
    assert done.stdout.splitlines()[1] == "Y copy 0"


def test_code_for_another_cpu_is_refused_in_c(tmp_path: Path) -> None:
    features = (_lacking_feature(),)
    artifact = handmade.build(tmp_path / "kws-amx", features=features)
    program = _compile(tmp_path / "host", "host.c", (artifact,), "-ldl")
    done = _run(program, str(artifact.library_path), "kws_model")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"missing {_lacking_feature()}: the CPU or operating system")


def _lacking_feature() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    for feature, flag in (("amx-tile", "amx_tile"), ("sse4a", "sse4a")):
        if flag not in flags:
            return feature
    pytest.skip(
        "this CPU has both AMX and SSE4a, so it has every feature that the test may ask for"
    )


def test_headers_are_c_plus_plus(kws: Artifact, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler: c++ is not installed")
    source = tmp_path / "main.cpp"
    source.write_text(
        '#include "kws.h"\nint main() { tunesmith_options options = TUNESMITH_OPTIONS_DEFAULT;\n'
        "  kws_session *session = nullptr; int error = kws_create(&session, &options);\n"
        "  kws_destroy(session); return error; }\n",
        encoding="ascii",
    )
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic")
    program = tmp_path / "main"
    library = str(kws.static_library_path)
    command = ("c++", *flags, f"-I{kws.path / 'include'}", str(source), library, *_SYSTEM)
    subprocess.run((*command, "-o", str(program)), check=True)
    assert _run(program).returncode == 0


def test_generated_and_runtime_sources_compile_without_a_warning(
    kws: Artifact, tmp_path: Path
) -> None:
    sources = sorted((kws.path / "src").rglob("*.c"))
    assert len(sources) == 5
    includes = (f"-I{kws.path / 'include'}", f"-I{kws.path / 'src'}", "-DTUNESMITH_PREFIX=kws")
    for source in sources:
        command = ("cc", *_STRICT, *includes, "-c", str(source), "-o", str(tmp_path / "x.o"))
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_cmake_builds_the_example(kws: Artifact, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake: the example's CMakeLists.txt is not tried")
    build = tmp_path / "build"
    subprocess.run(("cmake", "-S", kws.path, "-B", build), check=True, capture_output=True)
    subprocess.run(("cmake", "--build", build), check=True, capture_output=True)
    printed = [_run(build / name, "ramp").stdout for name in ("example_static", "example_shared")]
    assert printed[0] == printed[1]
    assert printed[0].splitlines()[1].startswith("Y copy: 0 0.0625 0.125")


def test_example_compiles_as_its_comment_says(kws: Artifact, tmp_path: Path) -> None:
    command = (
        *("cc", *_STRICT, "-Iinclude", "examples/main.c", "lib/libkws.a", "-lm", "-lpthread"),
        *("-o", str(tmp_path / "main")),
    )
    subprocess.run(command, cwd=kws.path, check=True)
    assert _run(tmp_path / "main").stdout.splitlines()[1].startswith("Y copy: 0 0 0")
