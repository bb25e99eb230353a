"""The facts about a target, one dataclass for each table of its TOML file. Plain data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from compiler.arm_cpu_features import aarch64_features
from compiler.board_address import DEFAULT_TIMEOUT_S, BoardAddress
from compiler.cpu_features import X86_CPUS, apply_feature_flags

Family = Literal["cpu", "gpu", "mcu"]
RegionKind = Literal["ram", "flash"]
# What the factors of convolutions and matrix products are rounded to; all sums are float32.
Precision = Literal["float32", "tf32", "fp16", "bf16"]
RunnerKind = Literal["native", "emulator", "rpc", "none"]
KernelKind = Literal["c", "llvm"]

SCHEMA_VERSION = 1
USUAL_STACK_BYTES = 8_192
GPU_ALIGN_BYTES = 256  # what cuMemAlloc gives (CUDA C++ Programming Guide, Device Memory Accesses)


# Cores of the M profile that have the DSP extension as LLVM and GCC know them.
_DSP_CPUS = frozenset(
    {"cortex-m4", "cortex-m7", "cortex-m33", "cortex-m35p", "cortex-m55", "cortex-m85"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LlvmSpec:
    """What LLVM is told. A feature is ``+name`` or ``-name``, on top of what `cpu` implies."""

    triple: str
    cpu: str
    features: tuple[str, ...]
    float_abi: Literal["soft", "softfp", "hard"] | None = None
    abi: str | None = None  # of RISC-V: which registers carry arguments

    @property
    def architecture(self) -> str:
        return self.triple.split("-", 1)[0]

    @property
    def is_aarch64(self) -> bool:
        return self.architecture == "aarch64"

    @property
    def multiplies_pairs(self) -> bool:
        """Whether one instruction adds two products of 16-bit integers: Arm's DSP extension."""
        if not self.architecture.startswith("thumb") or "-dsp" in self.features:
            return False
        return "+dsp" in self.features or self.cpu in _DSP_CPUS

    @property
    def sums_fours(self) -> bool:
        """Whether one instruction adds four products of int8 to each lane (Arm `sdot`)."""
        return self.is_aarch64 and "dotprod" in aarch64_features(self.cpu, self.features)

    @property
    def has_riscv_vectors(self) -> bool:
        """Whether it has RISC-V's vectors of 128 bits or more (V)."""
        return self.architecture.startswith("riscv") and "+v" in self.features

    @property
    def multiplies_matrices(self) -> bool:
        """Whether one instruction multiplies matrices of int8, 2 x 8 by 8 x 2 (Arm `smmla`)."""
        return self.is_aarch64 and "i8mm" in aarch64_features(self.cpu, self.features)

    @property
    def multiplies_halves(self) -> bool:
        """Whether one instruction multiplies eight halves and adds to eight (Arm FEAT_FP16)."""
        return self.is_aarch64 and "fullfp16" in aarch64_features(self.cpu, self.features)

    @property
    def multiplies_bfloats(self) -> bool:
        """Whether one instruction adds two products of bfloat16 to each lane (`vdpbf16ps`).

        Vectors of 128 and 256 bits have it with AVX512VL.
        """
        return {"avx512bf16", "avx512vl"} <= self._x86_features

    @property
    def multiplies_tiles(self) -> bool:
        """Whether one instruction multiplies tiles of int8, 16 x 64 by 64 x 16 (`tdpbssd`)."""
        return {"amx-tile", "amx-int8"} <= self._x86_features

    @property
    def _x86_features(self) -> frozenset[str]:
        if self.architecture != "x86_64":
            return frozenset()
        return apply_feature_flags(X86_CPUS[self.cpu], self.features)

    @property
    def is_macos(self) -> bool:
        return "-apple-" in self.triple


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorSpec:
    """The widest vector register that generated code uses, and how many of them there are.

    A machine without vectors has the width of its general registers: one lane of 32 bits.
    """

    width_bits: int
    register_count: int
    # A multiply-add takes one factor from a lane of a register: no broadcast of its own.
    multiplies_by_lane: bool = False
    # A multiply-add takes one factor from a general register (Helium): likewise.
    multiplies_by_scalar: bool = False
    # Products of small integers of two registers are added to a general register (Helium).
    sums_products: bool = False
    # Registers may be shorter: generated code asks the processor (SVE, RVV).
    scalable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSpec:
    """Data cache that one core can fill; 0 where a level does not exist."""

    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int  # the whole cache that this core shares, not a core's part of it
    line_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CoresSpec:
    """Physical cores that one process can use."""

    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuSpec:
    """An NVIDIA GPU: what its architecture allows a kernel, and the size of a reference card."""

    arch: str  # nvcc's name, "sm_80"
    shared_memory_per_block_bytes: int  # of a kernel that does not ask for more
    shared_memory_per_sm_bytes: int  # what the blocks on one multiprocessor share
    registers_per_thread_count: int
    registers_per_block_count: int  # also those of one multiprocessor
    threads_per_block_count: int
    threads_per_sm_count: int
    warp_threads_count: int
    sm_count: int  # multiprocessors of the reference card
    l2_bytes: int  # of the reference card

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor version: (8, 0) of sm_80."""
        digits = self.arch.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What products can be computed in: float32, and what tensor cores have.

        Source: PTX ISA 9.0, table of the target architectures of ``mma``.
        """
        reduced: tuple[tuple[Precision, tuple[int, int]], ...] = (
            ("tf32", (8, 0)),
            ("fp16", (7, 5)),
        )
        return ("float32", *(one for one, least in reduced if self.compute_capability >= least))

    @property
    def sums_bytes(self) -> bool:
        """Whether an instruction adds the products of four bytes of two words (``dp4a``).

        Source: PTX ISA 9.0, ``dp4a``: sm_61 or higher.
        """
        return self.compute_capability >= (6, 1)

    @property
    def multiplies_bytes(self) -> bool:
        """Whether tensor cores multiply integers of 8 bits.

        Source: PTX ISA 9.0, ``mma``: ``.m8n8k16`` from sm_75 on, ``.m16n8k32`` from sm_80 on.
        """
        return self.compute_capability >= (7, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRegion:
    """One block of a microcontroller's memory. The lowest rank is used first."""

    name: str
    kind: RegionKind
    start_address: int
    size_bytes: int
    align_bytes: int
    rank: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsSpec:
    """What a compiled model may use; None is no limit."""

    flash_bytes: int | None = None
    ram_bytes: int | None = None
    stack_bytes: int | None = None
    library_bytes: int | None = None
    instruction_count: int | None = None
    latency_us: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolchainSpec:
    """The C compiler, as the words of a command."""

    cc: tuple[str, ...]
    # How kernels of a microcontroller are made: C that `cc` compiles, or objects by LLVM.
    kernels: KernelKind | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerSpec:
    """Where compiled code can be tried; `command` is the emulator and its arguments.

    The other keys say where a board is (kind "rpc").
    """

    kind: RunnerKind
    command: tuple[str, ...] = ()
    server: str | None = None
    tracker: str | None = None
    device_key: str | None = None
    timeout_s: int | None = None

    @property
    def board(self) -> BoardAddress | None:
        if self.kind != "rpc":
            return None
        return BoardAddress(
            server=self.server,
            tracker=self.tracker,
            device_key=self.device_key,
            timeout_s=self.timeout_s or DEFAULT_TIMEOUT_S,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetSpec:
    """Everything the compiler knows about one machine."""

    schema_version: int
    name: str
    family: Family
    source: str  # where the numbers come from
    description: str | None = None
    llvm: LlvmSpec
    vector: VectorSpec
    cache: CacheSpec
    cores: CoresSpec
    gpu: GpuSpec | None = None  # family gpu: the other tables are then of the host program
    memory: tuple[MemoryRegion, ...] = ()  # empty: the operating system gives memory
    limits: LimitsSpec = LimitsSpec()
    toolchain: ToolchainSpec
    runner: RunnerSpec

    @property
    def is_hosted(self) -> bool:
        """Whether there is an operating system: malloc, threads, shared libraries."""
        return not self.memory

    @property
    def has_llvm_kernels(self) -> bool:
        """Whether LLVM makes the machine code of kernels; else the toolchain's C compiler does."""
        return self.family != "mcu" or self.toolchain.kernels == "llvm"

    @property
    def arena_align_bytes(self) -> int:
        """Alignment of an arena that no region describes: a whole vector and a whole line.

        Scalable vectors are loaded from any element on.
        """
        if self.gpu is not None:
            return GPU_ALIGN_BYTES
        if self.vector.scalable:
            return self.cache.line_bytes
        return max(self.vector.width_bits // 8, self.cache.line_bytes)

    @property
    def reserved_stack_bytes(self) -> int:
        """RAM of a microcontroller that is no arena's: its limit, or what firmware has usually."""
        return self.limits.stack_bytes or USUAL_STACK_BYTES

    def lanes(self, dtype_bits: int) -> int:
        """Return how many elements of `dtype_bits` fit a vector register; at least 1."""
        return max(1, self.vector.width_bits // dtype_bits)

    def with_half_products(self) -> TargetSpec:
        """Return what the graph is laid out for where products are of halves.

        Sums are functions of the runtime, so that a block of channels is no register: it is what a
        tile of four registers of halves holds, or less where that divides the channels.
        """
        lanes = 4 * self.lanes(dtype_bits=16)
        vector = replace(self.vector, width_bits=32 * lanes, scalable=True)
        return replace(self, vector=vector)

    def with_c_kernels(self) -> TargetSpec:
        """Return a copy of a microcontroller whose kernels are C: a register holds one number."""
        lanes = self.lanes(dtype_bits=32)
        vector = VectorSpec(
            width_bits=self.vector.width_bits // lanes,
            register_count=self.vector.register_count * lanes,
        )
        return replace(self, vector=vector, toolchain=replace(self.toolchain, kernels="c"))

    def with_limits(self, **limits: int | None) -> TargetSpec:
        """Return a copy with these limits replaced; names are the fields of `LimitsSpec`."""
        return replace(self, limits=replace(self.limits, **limits))

    def with_board(self, board: BoardAddress) -> TargetSpec:
        """Return a copy that is tried on this board."""
        return replace(self, runner=RunnerSpec(kind="rpc", **asdict(board)))

    def with_cores(self, count: int) -> TargetSpec:
        """Return a copy whose cores are `count`: as many as sessions will use."""
        return replace(self, cores=replace(self.cores, count=count))

    def fingerprint(self, *, threads: int, tvm_version: str, rule_set_version: str) -> str:
        """Return a sha256 (hex) over everything that changes generated code, nothing else.

        Limits, runner, C compiler, names and sources are left out: a record measured on a board
        holds for the same processor on another board.
        """
        facts = self._code_facts(threads)
        return _digest({**facts, "tvm": tvm_version, "rules": rule_set_version})

    def machine_key(self, *, threads: int) -> str:
        """Return a sha256 (hex) as `fingerprint`, the same for all versions of TVM and rules."""
        return _digest(self._code_facts(threads))

    def _code_facts(self, threads: int) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "triple": self.llvm.triple,
            "cpu": self.llvm.cpu,
            "features": self.llvm.features,  # LLVM reads them in order
            "float_abi": self.llvm.float_abi,
            "vector": _set_facts(self.vector),
            "cache": asdict(self.cache),
            "cores": self.cores.count,
            "threads": threads,
        }
        if self.llvm.abi is not None:
            facts["abi"] = self.llvm.abi
        if self.gpu is not None:
            facts["gpu"] = asdict(self.gpu)
        if self.toolchain.kernels == "llvm":
            facts["kernels"] = "llvm"  # of a microcontroller, whose kernels are C else
        return facts

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain dicts and lists, without the optional facts that are unset."""
        return {key: value for key, value in _plain(self).items() if value not in (None, {}, [])}


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


LIMIT_NAMES = tuple(field.name for field in fields(LimitsSpec))


def _set_facts(table: Any) -> dict[str, Any]:
    """A table's facts but for those that are False: a fingerprint does not change with new ones."""
    return {key: value for key, value in asdict(table).items() if value is not False}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        pairs = ((field.name, _plain(getattr(value, field.name))) for field in fields(value))
        return {name: item for name, item in pairs if item is not None}
    return value
