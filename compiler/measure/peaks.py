"""What the machine can do at most, measured: float operations and bytes of memory in a second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler.cpu_features import X86_CPUS, apply_feature_flags
from compiler.errors import TargetError
from compiler.host_target import host_cpu_features, host_target
from compiler.target_spec import TargetSpec
from compiler.toolchain import find_toolchain, run_tool

_WARM_CACHES = 4  # a buffer of that many last-level caches is hardly in one
_LEAST_BUFFER_BYTES = 128 << 20
_MOST_BUFFER_BYTES = 1 << 30
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=fast", "-pthread")


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """The best of several short trials on this machine, all threads together."""

    fma_gflops: float  # float32, a multiply-add is two operations
    memory_gbytes_per_s: float  # reading, or reading and writing: the better
    threads: int
    vector_bits: int  # of the multiply-adds

    def compute_share(self, gflops: float) -> float:
        return gflops / self.fma_gflops

    def memory_share(self, gbytes_per_s: float) -> float:
        return gbytes_per_s / self.memory_gbytes_per_s


def measure_peaks(spec: TargetSpec, threads: int) -> Peaks:
    """Measure with the vectors that code for `spec` uses. Takes about a second.

    Raises:
        TargetError: this machine lacks those vectors.
        ToolchainError: there is no C compiler, or the program could not run.
    """
    features = apply_feature_flags(X86_CPUS.get(spec.llvm.cpu, frozenset()), spec.llvm.features)
    return _measure(spec.vector.width_bits, features, threads=threads, target=spec.name)


def measure_peaks_of_code(
    cpu_features: Iterable[str], *, threads: int, target: str = "host"
) -> Peaks:
    """Measure with the widest vectors that code with these LLVM features can use.

    Raises: as `measure_peaks`.
    """
    features = frozenset(cpu_features)
    return _measure(widest_vector_bits(features), features, threads=threads, target=target)


def widest_vector_bits(features: frozenset[str]) -> int:
    """Return the width that x86 code with `features` can use; 128 on every other machine too."""
    if "avx512f" in features:
        return 512
    return 256 if "avx" in features else 128


def _measure(vector_bits: int, features: frozenset[str], *, threads: int, target: str) -> Peaks:
    flags = vector_flags(vector_bits, features)
    _check_machine(flags, target)
    # Twelve chains and two constants fit the 16 registers that machines without AVX-512 have.
    accumulators = 24 if vector_bits == 512 else 12
    defines = (f"-DVECTOR_BYTES={vector_bits // 8}", f"-DACCUMULATORS={accumulators}")
    cc = find_toolchain().cc
    with (
        TemporaryDirectory(prefix="tunesmith-peaks-") as folder,
        as_file(files("compiler.measure") / "peaks.c") as source,
    ):
        program = Path(folder) / "peaks"
        command = (*cc, *_FLAGS, *flags, *defines, "-o", str(program), str(source))
        run_tool(command, folder=None)
        output = run_tool((str(program), str(threads), str(_buffer_bytes())), folder=None)
    fma, memory = map(float, output.split())
    return Peaks(
        fma_gflops=fma, memory_gbytes_per_s=memory, threads=threads, vector_bits=vector_bits
    )


def vector_flags(vector_bits: int, features: frozenset[str]) -> tuple[str, ...]:
    """Return the C compiler's flags for vectors of that width; none for a baseline's vectors."""
    wide = {512: ("-mavx512f",), 256: ("-mavx",)}.get(vector_bits, ())
    fma = ("-mfma",) if "fma" in features else ()
    return (*wide, *fma)


def _check_machine(flags: tuple[str, ...], target: str) -> None:
    missing = [name for flag in flags if (name := flag[2:]) not in host_cpu_features()]
    if missing:
        raise TargetError(
            f"target {target}: its peak cannot be measured here",
            why=f"this machine lacks {missing[0]}",
            fix="measure on such a machine, or use the target host",
        )


def _buffer_bytes() -> int:
    """Return a size well beyond the last-level cache of this machine, not of a spec."""
    cache = host_target().cache
    wanted = _WARM_CACHES * max(cache.l2_bytes, cache.l3_bytes)
    return min(max(wanted, _LEAST_BUFFER_BYTES), _MOST_BUFFER_BYTES)
