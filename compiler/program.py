"""The linear program: which kernel runs when, on which values. Plain data, no TVM."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any, Literal

import numpy as np

# Where inputs and outputs lie (--io-memory): in memory of the caller for as long as a run lasts, or
# in the arena, where the memory plan gives them places among its buffers.
IoMemory = Literal["caller", "arena"]


class ValueKind(StrEnum):
    """Who owns the bytes of a value; of inputs and outputs see also `Program.io_memory`."""

    INPUT = "input"  # the caller; never written
    OUTPUT = "output"  # the caller; written by the kernel that produces it
    CONSTANT = "constant"  # the weights blob; read-only
    BUFFER = "buffer"  # the arena, placed by the memory plan


# In the names of kernels that trade a little accuracy for speed; `--exact` makes none.
WINOGRAD_KERNEL = "winograd_conv2d"


def is_winograd(kernel: str) -> bool:
    """Whether the kernel of that name is such a one."""
    return WINOGRAD_KERNEL in kernel


# Bytes of one element. NumPy knows no bfloat16, so the table is ours.
ELEMENT_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One tensor of the program.

    ``storage`` is the id of the value that owns the bytes. A value that owns its bytes has
    ``storage == id`` and ``offset_bytes == 0``, and only such a value is planned. A reshape or a
    part of a tensor is a value in the storage of another; so is an operand of a concatenation
    whose kernel writes it where the concatenation lies.
    """

    id: int
    kind: ValueKind  # of the value that owns the storage
    dtype: str  # NumPy's name for it, or "bfloat16"
    shape: tuple[int, ...]
    storage: int
    onnx_name: str | None = None  # the ONNX value whose elements it holds
    # None: in ONNX's order. Else the shape is [N, C/B, H, W, B] for ONNX's [N, C, H, W].
    channel_block: int | None = None
    offset_bytes: int = 0  # of its first element in the storage

    @property
    def element_count(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.element_count * ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCall:
    """One call of a kernel: ``kernel(inputs..., outputs..., scratch...)``."""

    kernel: str  # name of a kernel; several calls may share one
    inputs: tuple[int, ...]  # value ids
    outputs: tuple[int, ...]  # value ids
    operator: str  # what a reader calls it: "Conv+Add+Relu"
    onnx_nodes: tuple[str, ...]  # names of the ONNX nodes it computes
    macs: int = 0  # multiply-accumulates of those nodes
    joins: bool = False  # its output is nothing but the bytes of its inputs, one after another


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A model output that is an input, a constant or another output: copied at the end."""

    source: int  # value id
    destination: int  # value id of kind OUTPUT


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """How integers stand for reals at an input or output: ``real = scale * (q - zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A named input or output of the model."""

    name: str  # the ONNX name
    value: int  # value id
    quantization: Quantization | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatQuantizer:
    """A quantizer whose operand is computed in float arithmetic, and why."""

    node: str  # in the ONNX graph
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatWeight:
    """A weight that ``--weights fp16`` left in float32, and why."""

    name: str  # of the ONNX constant
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceOutcome:
    """What became of a record of a choice for operators of the graph."""

    signature: str
    choice: dict[str, Any]  # plain JSON
    record: str  # its id
    passed_over: str = ""  # why it was not taken; "" if it was


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Kernel calls in execution order over values; ``values[i].id == i``."""

    values: tuple[Value, ...]
    constants: dict[int, np.ndarray]  # C-contiguous, by value id, storage owners only
    calls: tuple[KernelCall, ...]
    copies: tuple[Copy, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    float_quantizers: tuple[FloatQuantizer, ...] = ()
    integer_io: bool = False  # the caller quantizes and dequantizes (--io int8)
    io_memory: IoMemory = "caller"
    float_weights: tuple[FloatWeight, ...] = ()  # of --weights fp16
    choices: tuple[ChoiceOutcome, ...] = ()  # of records


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelMemory:
    """What a kernel needs besides its tensors, and where it may write over an input."""

    scratch_bytes: tuple[int, ...] = ()  # shared by all workers of one call, one pointer each
    worker_scratch_bytes: int = 0  # one block for each worker, one pointer
    # (input position, output position). Code for a board may want work items in order for that.
    in_place: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One function of a kernel. Work items ``begin..end`` of ``extent`` may run side by side.

    C: ``void symbol(inputs..., outputs..., scratch..., worker_scratch?, begin, end)``
    with every pointer a ``void *`` and the range two ``int32_t``; ``worker_scratch`` is there if
    the kernel's ``worker_scratch_bytes`` is not 0. Phases of one kernel take the same pointers
    and run in order.
    """

    symbol: str
    extent: int  # 1: serial


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One start of a device function of a GPU kernel; launches of a kernel run in order."""

    symbol: str
    grid: tuple[int, int, int]  # blocks: x, y, z
    block: tuple[int, int, int]  # threads of a block: x, y, z
    arguments: tuple[int, ...]  # each a pointer: position among inputs, outputs, scratch


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceUse:
    """What ptxas gives one device function."""

    registers: int  # of a thread
    shared_bytes: int  # of a block
    spill_bytes: int  # stores and loads of registers that did not suffice, of a thread


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleOutcome:
    """Which of record, rule or fallback scheduled a kernel, and why not an earlier one."""

    source: str  # "record", "rule" or "fallback"
    name: str  # record id, rule name, or what the fallback did
    reason: str = ""  # why the choices before it were passed over


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledKernel:
    """One kernel as machine code for the target."""

    name: str
    phases: tuple[Phase, ...]
    memory: KernelMemory
    schedule: ScheduleOutcome
    object_code: bytes  # an ELF (or Mach-O, COFF) object that defines the phases' symbols
    code_bytes: int
    libm_symbols: tuple[str, ...] = ()
    runtime_symbols: tuple[str, ...] = ()  # of the library's own runtime
    launches: tuple[Launch, ...] = ()  # of a GPU kernel, which has no phases and no object
    device_uses: tuple[DeviceUse, ...] = ()  # one for each launch; none if ptxas was not there
    source: str = ""  # the C file that the object was compiled from, where there is one
    prototypes: tuple[str, ...] = ()  # of the phases in it, without semicolons
    layout_changes: int = 0  # copies between plain and blocked layout, fused or alone
