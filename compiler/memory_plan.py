"""Where every buffer and every scratch block of a `Program` lies in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.errors import LimitError
from compiler.memory_packing import (
    Block,
    Merge,
    Packing,
    largest_live_bytes,
    pack_blocks,
)
from compiler.program import ELEMENT_BYTES, KernelCall, KernelMemory, Program, ValueKind

# A kernel needs its elements' alignment only, so more is given where it costs little: an alignment
# of at most 1/32 of the block keeps the padding of a 10 KB arena under 3 %.
BLOCK_BYTES_PER_ALIGNMENT = 32
# Scratch has no dtype: 8 bytes hold the largest element.
SCRATCH_ELEMENT_BYTES = 8
LARGEST_TENSORS_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Memory that a plan may use; several are given in rank order, the preferred one first."""

    name: str
    size_bytes: int | None  # None: unlimited
    alignment: int  # of its first byte


ARENA = Region(name="arena", size_bytes=None, alignment=64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Bytes ``offset .. offset + size_bytes`` of a region."""

    region: str
    offset: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorPlace:
    """Where in the memory of a run an input or output may lie: a run overwrites an input there."""

    region: int  # number of the region
    offset: int  # in bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionUse:
    """How much of a region a plan uses, and how its first byte must be aligned."""

    name: str
    size_bytes: int
    alignment: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """Places for all storage that is neither constant nor in memory of the caller."""

    regions: tuple[RegionUse, ...]  # those used, in rank order; the first one even if it is empty
    buffers: dict[int, Placement]  # by storage value id, kind BUFFER only
    inputs: dict[int, Placement]  # likewise, kind INPUT: where they may lie until they are read
    outputs: dict[int, Placement]  # likewise, kind OUTPUT, from when they are written
    scratch: dict[int, tuple[Placement, ...]]  # by call index, order of KernelMemory.scratch_bytes
    worker_scratch: dict[int, Placement]  # by call index: worker 0's block
    worker_scratch_bytes: int  # largest block: what each further worker of a session needs
    # (call index, storage value id of the input overwritten); the copies at the end are the last.
    in_place: tuple[tuple[int, int], ...]
    arena_bytes: int  # all regions together
    lower_bound_bytes: int  # largest sum of live buffers, in place where legal, without scratch

    @property
    def storages(self) -> dict[int, Placement]:
        """All places of tensors, by storage value id."""
        return self.buffers | self.inputs | self.outputs


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lifetime:
    """Calls at which a storage is alive; copies at the end are position ``len(calls)``."""

    first: int
    last: int


def plan_memory(
    program: Program,
    memory: Mapping[str, KernelMemory],
    regions: Sequence[Region] = (ARENA,),
    buffer_alignment: int = 64,
    *,
    with_inputs: bool = False,
) -> MemoryPlan:
    """Return a plan in which no two blocks alive at the same call share bytes.

    The one exception is an output written over an input that dies in the same call, where the
    kernel allows it. Regions are filled in rank order and spill into the next one. Inputs and
    outputs have places like buffers if the program says so (`Program.io_memory`).

    Args:
        memory: what each kernel needs, by kernel name.
        buffer_alignment: largest alignment given to a block, in bytes.
        with_inputs: keep places for the model's inputs until they are read for the last time, so
            that they need no memory beside the regions, even if outputs have none.

    Raises:
        LimitError: the regions together are too small.
    """
    largest_alignment = min(buffer_alignment, *(region.alignment for region in regions))
    layout = _Layout(program, memory, largest_alignment, with_inputs=with_inputs)
    merges = _merges(program, memory, layout)
    packing = pack_blocks(layout.blocks, merges, [region.size_bytes for region in regions])
    _check_limits(program, layout, packing, regions)
    return _plan(program, memory, regions, layout, merges, packing)


def lower_bound_bytes(program: Program, memory: Mapping[str, KernelMemory]) -> int:
    """Return the largest sum of live storages, in place where legal: no plan needs less."""
    layout = _Layout(program, memory, largest_alignment=1)
    merges = _merges(program, memory, layout)
    return largest_live_bytes(layout.blocks[: layout.storage_block_count], merges)


def lifetimes(program: Program) -> dict[int, _Lifetime]:
    """Return when each storage of the arena is alive, by storage value id.

    Those are buffers; with `Program.io_memory` "arena" also inputs, from the beginning on, and
    outputs, to the end.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, call in enumerate(program.calls):
        for value in call.outputs:
            first.setdefault(program.values[value].storage, position)
        for value in (*call.inputs, *call.outputs):
            last[program.values[value].storage] = position
    for copy in program.copies:
        last[program.values[copy.source].storage] = len(program.calls)
    kinds = {ValueKind.BUFFER}
    if program.io_memory == "arena":
        kinds |= {ValueKind.INPUT, ValueKind.OUTPUT}
        for port in program.inputs:
            first[program.values[port.value].storage] = 0
        for port in program.outputs:
            storage = program.values[port.value].storage
            first.setdefault(storage, len(program.calls))  # what a copy makes
            last[storage] = len(program.calls)
    return {
        storage: _Lifetime(first=first[storage], last=last.get(storage, 0))
        for storage in sorted(first)
        if program.values[storage].kind in kinds
    }


def _read_inputs(program: Program) -> dict[int, _Lifetime]:
    """Return when each input that is read at all is alive, by storage value id."""
    last: dict[int, int] = {}
    for position, call in enumerate(program.calls):
        last |= {program.values[value].storage: position for value in call.inputs}
    last |= {program.values[copy.source].storage: len(program.calls) for copy in program.copies}
    inputs = [program.values[port.value].storage for port in program.inputs]
    return {
        storage: _Lifetime(first=0, last=last[storage]) for storage in inputs if storage in last
    }


class _Layout:
    """The blocks to pack, and which block stands for what."""

    def __init__(
        self,
        program: Program,
        memory: Mapping[str, KernelMemory],
        largest_alignment: int,
        *,
        with_inputs: bool = False,
    ) -> None:
        self.blocks: list[Block] = []
        self._largest_alignment = largest_alignment
        self.lifetimes = lifetimes(program)
        self.buffers = self._add_kind(program, ValueKind.BUFFER)
        self.inputs = self._add_kind(program, ValueKind.INPUT)
        self.outputs = self._add_kind(program, ValueKind.OUTPUT)
        # What a kernel may write over. An input with a place of its own stays as it is.
        self.writable = self.buffers | self.inputs | self.outputs
        if with_inputs and program.io_memory == "caller":
            self.inputs = self._add_storages(program, _read_inputs(program))
        self.storage_block_count = len(self.blocks)
        self.scratch: dict[int, tuple[int, ...]] = {}
        self.worker_scratch: dict[int, int] = {}
        for position, call in enumerate(program.calls):
            needs = memory[call.kernel]
            if needs.scratch_bytes:
                self.scratch[position] = tuple(
                    self._add(position, position, size, SCRATCH_ELEMENT_BYTES)
                    for size in needs.scratch_bytes
                )
            if needs.worker_scratch_bytes:
                self.worker_scratch[position] = self._add(
                    position,
                    position,
                    needs.worker_scratch_bytes,
                    SCRATCH_ELEMENT_BYTES,
                )

    def _add_kind(self, program: Program, kind: ValueKind) -> dict[int, int]:
        lives = {s: life for s, life in self.lifetimes.items() if program.values[s].kind is kind}
        return self._add_storages(program, lives)

    def _add_storages(self, program: Program, lives: Mapping[int, _Lifetime]) -> dict[int, int]:
        """Add a block for each storage; return them by storage value id."""
        values = program.values
        return {
            storage: self._add(
                life.first,
                life.last,
                values[storage].size_bytes,
                ELEMENT_BYTES[values[storage].dtype],
            )
            for storage, life in lives.items()
        }

    def _add(self, first: int, last: int, size_bytes: int, element_bytes: int) -> int:
        self.blocks.append(
            Block(
                first=first,
                last=last,
                size_bytes=size_bytes,
                alignment=block_alignment(size_bytes, element_bytes, self._largest_alignment),
            )
        )
        return len(self.blocks) - 1


def block_alignment(size_bytes: int, element_bytes: int, largest: int) -> int:
    """Return a power of two from ``element_bytes`` to ``largest`` that wastes little of a block.

    A block of 2 KiB or more starts on a cache line (64 bytes), a tiny one only on its element.
    """
    alignment = 1
    while alignment * 2 <= min(largest, size_bytes // BLOCK_BYTES_PER_ALIGNMENT):
        alignment *= 2
    return max(alignment, min(element_bytes, largest))


def _merges(
    program: Program, memory: Mapping[str, KernelMemory], layout: _Layout
) -> tuple[Merge, ...]:
    """Return every output that may lie over an input, with the inputs to choose from."""
    merges = []
    for position, call in enumerate(program.calls):
        inputs_of: dict[int, list[int]] = {}
        for input_position, output_position in memory[call.kernel].in_place:
            read = program.values[call.inputs[input_position]]
            source, output = read.storage, call.outputs[output_position]
            # Elsewhere in its storage, an element would be written over before it is read.
            if read.offset_bytes == 0 and _may_overwrite(
                program, layout, position, call, source, output
            ):
                inputs_of.setdefault(output, []).append(source)
        for output, sources in inputs_of.items():
            # The closest fit first: the rest of a larger input is lost while the output lives.
            ranked = sorted(set(sources), key=lambda s: (program.values[s].size_bytes, s))
            merges.append(
                Merge(
                    output=layout.writable[output],
                    inputs=tuple(layout.writable[source] for source in ranked),
                )
            )
    return (*merges, *_merged_copies(program, layout))


def _merged_copies(program: Program, layout: _Layout) -> Iterator[Merge]:
    """Return the outputs that may lie where they would be copied from: inputs and buffers."""
    sources = [program.values[copy.source].storage for copy in program.copies]
    for copy, source in zip(program.copies, sources, strict=True):
        read, made = program.values[copy.source], program.values[copy.destination]
        if (
            source in layout.writable
            and copy.destination in layout.writable
            and program.values[source].kind is not ValueKind.OUTPUT
            and sources.count(source) == 1
            and read.offset_bytes == 0
            and program.values[source].size_bytes >= made.size_bytes
        ):
            yield Merge(output=layout.writable[copy.destination], inputs=(layout.writable[source],))


def _may_overwrite(
    program: Program,
    layout: _Layout,
    position: int,
    call: KernelCall,
    source: int,
    output: int,
) -> bool:
    """Whether the storage of an input is free to be written by this call."""
    if source not in layout.writable or output not in layout.writable:
        return False  # the caller's memory or a constant
    operands = [program.values[value].storage for value in (*call.inputs, *call.outputs)]
    return (
        layout.lifetimes[source].last == position
        and layout.lifetimes[output].first == position
        and operands.count(source) == 1
        and program.values[source].size_bytes >= program.values[output].size_bytes
    )


def _check_limits(
    program: Program, layout: _Layout, packing: Packing, regions: Sequence[Region]
) -> None:
    limit, used = regions[-1].size_bytes, packing.used_bytes[-1]
    if limit is None or used <= limit:
        return
    sizes = ", ".join(
        f"{region.name} {needed:,} of {region.size_bytes or 0:,} bytes"
        for region, needed in zip(regions, packing.used_bytes, strict=True)
    )
    largest = sorted(layout.writable, key=lambda s: (-program.values[s].size_bytes, s))
    tensors = ", ".join(
        f"{value.onnx_name or f'value {value.id}'} {value.size_bytes:,} bytes"
        for value in (program.values[s] for s in largest[:LARGEST_TENSORS_NAMED])
    )
    names = " and ".join(region.name for region in regions)
    raise LimitError(
        f"the model's buffers do not fit into {names}",
        why=f"needed: {sizes}; largest tensors: {tensors or 'none, it is kernel scratch'}",
        fix="use a target with more memory, a smaller input shape, or a quantized model",
    )


def _plan(
    program: Program,
    memory: Mapping[str, KernelMemory],
    regions: Sequence[Region],
    layout: _Layout,
    merges: Sequence[Merge],
    packing: Packing,
) -> MemoryPlan:
    def placement(block: int) -> Placement:
        return Placement(
            region=regions[packing.regions[block]].name,
            offset=packing.offsets[block],
            size_bytes=layout.blocks[block].size_bytes,
        )

    storage_of = {block: storage for storage, block in layout.writable.items()}
    return MemoryPlan(
        regions=tuple(
            RegionUse(name=region.name, size_bytes=used, alignment=region.alignment)
            for rank, (region, used) in enumerate(zip(regions, packing.used_bytes, strict=True))
            if used or rank == 0
        ),
        buffers={storage: placement(block) for storage, block in layout.buffers.items()},
        inputs={storage: placement(block) for storage, block in layout.inputs.items()},
        outputs={storage: placement(block) for storage, block in layout.outputs.items()},
        scratch={
            call: tuple(placement(block) for block in blocks)
            for call, blocks in layout.scratch.items()
        },
        worker_scratch={call: placement(block) for call, block in layout.worker_scratch.items()},
        worker_scratch_bytes=max(
            (memory[call.kernel].worker_scratch_bytes for call in program.calls),
            default=0,
        ),
        in_place=tuple(
            sorted(
                (layout.blocks[output].first, storage_of[source])
                for output, source in packing.merged.items()
            )
        ),
        arena_bytes=sum(packing.used_bytes),
        lower_bound_bytes=largest_live_bytes(layout.blocks[: layout.storage_block_count], merges),
    )
