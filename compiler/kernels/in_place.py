"""Which inputs a kernel may overwrite with its output."""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.ascending import writes_ascending
from compiler.program import ELEMENT_BYTES


def in_place_pairs(
    func: PrimFunc, input_count: int, *, in_order: bool = False
) -> tuple[tuple[int, int], ...]:
    """Return (input, output) positions that may be one memory block.

    That is legal if every element of the input is read only by the block that writes the output,
    only to compute the element at the same place, and nothing else is written by the kernel: then
    no order of the loops reads an element after it was overwritten.

    Args:
        in_order: work items run one after another on one thread, from the first. Then bytes may
            also be written over wider elements, in ascending order: byte i lies in the element
            i // width, which was read for the byte of its own number, at most i.
    """
    outputs = list(func.params)[input_count:]
    if len(outputs) != 1:
        return ()  # a second output could be computed after the first overwrote the input
    writers = _blocks_that(func, outputs[0], write=True)
    if len(writers) != 1:
        return ()
    pairs = []
    for position, parameter in enumerate(list(func.params)[:input_count]):
        is_shrunk = in_order and _shrinks_to_bytes(parameter, outputs[0])
        if not _same_layout(parameter, outputs[0]) and not (is_shrunk and writes_ascending(func)):
            continue
        readers = _blocks_that(func, parameter, write=False)
        same_block = len(readers) == 1 and readers[0].same_as(writers[0])
        if same_block and _reads_where_it_writes(writers[0], parameter, outputs[0]):
            pairs.append((position, 0))
    return tuple(pairs)


def _same_layout(one: Any, other: Any) -> bool:
    return _same_shape(one, other) and str(one.ty.dtype) == str(other.ty.dtype)


def _shrinks_to_bytes(source: Any, destination: Any) -> bool:
    """Whether elements become bytes, the one type by which C may look at what has another."""
    return _same_shape(source, destination) and ELEMENT_BYTES.get(str(destination.ty.dtype)) == 1


def _same_shape(one: Any, other: Any) -> bool:
    shapes = [[int(extent) for extent in buffer.ty.shape] for buffer in (one, other)]
    return shapes[0] == shapes[1]


def _blocks_that(func: PrimFunc, buffer: Any, *, write: bool) -> list[Any]:
    """Innermost blocks that access the buffer."""
    found: list[Any] = []

    def look(block: Any) -> None:
        if block.name_hint == "root" or _has_inner_blocks(block):
            return
        if any(_buffer(access).same_as(buffer) for access in _accesses(block, write=write)):
            found.append(block)

    structural.structural_walk(func.body, (s_tir.SBlock, look))
    return found


def _has_inner_blocks(block: Any) -> bool:
    inner: list[Any] = []
    structural.structural_walk(block.body, (s_tir.SBlock, inner.append))
    return bool(inner)


def _accesses(block: Any, *, write: bool) -> list[Any]:
    found: list[Any] = []
    kind = tirx.BufferStore if write else tvm.ir.TensorLoad
    for statement in (block.body, block.init):
        if statement is not None:
            structural.structural_walk(statement, (kind, found.append))
    return found


def _buffer(access: Any) -> Any:
    return access.buffer if isinstance(access, tirx.BufferStore) else access.source


def _reads_where_it_writes(block: Any, source: Any, destination: Any) -> bool:
    stores = [s for s in _accesses(block, write=True) if _buffer(s).same_as(destination)]
    reads = [r for r in _accesses(block, write=False) if _buffer(r).same_as(source)]
    if len(stores) != 1 or block.init is not None:
        return False
    where = stores[0].indices
    return all(_same_indices(read.indices, where) for read in reads)


def _same_indices(one: Any, other: Any) -> bool:
    """Whether two index lists name the same element for every value of the loop variables."""
    return len(one) == len(other) and all(
        tvm_ffi.structural_equal(a, b) for a, b in zip(one, other, strict=True)
    )
