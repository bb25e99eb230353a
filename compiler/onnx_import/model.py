"""The `Model`: a checked ONNX graph with static shapes and folded constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compiler.program import FloatWeight, Quantization

if TYPE_CHECKING:
    import onnx

# What a library takes and gives: tensors as in the ONNX file, or integers where those are float.
Io = Literal["model", "int8"]
# How float32 weights are stored: as they are, or in 16 bits and widened where they are read.
Weights = Literal["model", "fp16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """Name, NumPy dtype and static shape of a model input or output.

    The shape is ``(-1,)`` for an output behind a node that cannot be compiled.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OpCount:
    """How often an operator occurs; domain is empty for standard ONNX."""

    domain: str
    op_type: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsupportedNode:
    """A node that cannot be compiled, named as in the user's file, and why."""

    op_type: str
    node: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What is in the folded graph."""

    operators: tuple[OpCount, ...]  # sorted by count, then name
    unsupported: tuple[UnsupportedNode, ...]
    parameter_count: int
    weight_bytes: int
    mac_count: int
    node_macs: dict[str, int]  # by node name
    arena_bytes_estimate: int  # largest sum of live intermediates, before fusion


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A checked ONNX graph: static shapes, constants folded, inventory known.

    Every node of `proto` has a unique, non-empty name; every value a static shape in
    ``graph.value_info``. `source` is the user's own graph with only shapes fixed and values
    pinned: the reference that a compiled library is compared with.
    """

    name: str  # a C identifier made from the file name
    proto: onnx.ModelProto
    source: onnx.ModelProto
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    digest: str  # sha256 of the user's file and its external data
    opset: int  # as in the user's file
    inventory: Inventory
    io: Io = "model"
    weights: Weights = "model"
    float_weights: tuple[FloatWeight, ...] = ()  # not rounded though `weights` says so
    unrounded: onnx.ModelProto | None = None  # the reference before weights were rounded
