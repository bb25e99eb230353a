"""The order of a program's calls that needs the least memory at a time.

Which values are alive after some calls does not depend on the order in which those ran, so a state
of the search is the set of calls that have run. States are visited in the order of the most memory
that was needed to reach them: the first way found to the end is the best one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.program import KernelMemory, Program, ValueKind

# States that the exact search may visit: a second of Python. Chains have as many as calls,
# networks with a few branches some thousands; beyond that the order is chosen step by step.
MOST_STATES = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One call; sets of calls and of storages are bit masks."""

    needs: int  # calls whose results it reads
    outputs: tuple[int, ...]  # storages in the arena
    inputs: tuple[int, ...]  # likewise
    in_place: tuple[tuple[int, int], ...]  # (storage read, storage written)
    scratch_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    steps: tuple[_Step, ...]
    sizes: Mapping[int, int]  # bytes, by storage
    readers: Mapping[int, int]  # calls that read it, by storage
    kept: frozenset[int]  # storages that are copied at the end, or outputs in the arena
    given_bytes: int  # of inputs in the arena, before the first call

    def dies(self, storage: int, done: int) -> bool:
        """Whether nothing will read the storage once the calls of `done` have run."""
        return storage not in self.kept and not self.readers[storage] & ~done

    def ready(self, done: int) -> Iterator[int]:
        for call, step in enumerate(self.steps):
            if not done >> call & 1 and not step.needs & ~done:
                yield call

    def during(self, alive: int, done: int, call: int) -> int:
        """Bytes needed while the call runs, `alive` of them before it."""
        step = self.steps[call]
        after = done | 1 << call
        free = [pair for pair in step.in_place if self.dies(pair[0], after)]
        saved = sum(
            self.sizes[output]
            for output in step.outputs
            if any(o == output and self.sizes[s] >= self.sizes[o] for s, o in free)
        )
        return alive + sum(self.sizes[o] for o in step.outputs) + step.scratch_bytes - saved

    def after(self, alive: int, done: int, call: int) -> int:
        """Bytes alive when the call has ended."""
        step = self.steps[call]
        now = done | 1 << call
        ended = (s for s in {*step.inputs, *step.outputs} if self.dies(s, now))
        return alive + sum(self.sizes[o] for o in step.outputs) - sum(self.sizes[s] for s in ended)


def order_calls(program: Program, memory: Mapping[str, KernelMemory]) -> Program:
    """Return the program with its calls in the order of least memory; as it is if none is better.

    Args:
        memory: what each kernel needs, by kernel name.
    """
    problem = _problem(program, memory)
    given = tuple(range(len(program.calls)))
    found = _best_order(problem) or _step_by_step(problem)
    if _peak(problem, found) >= _peak(problem, given):
        return program
    return replace(program, calls=tuple(program.calls[call] for call in found))


def _problem(program: Program, memory: Mapping[str, KernelMemory]) -> _Problem:
    owner = [value.storage for value in program.values]
    producer = {owner[v]: i for i, call in enumerate(program.calls) for v in call.outputs}
    readers: dict[int, int] = {}
    for index, call in enumerate(program.calls):
        readers |= {owner[v]: readers.get(owner[v], 0) for v in call.outputs}
        for storage in {owner[v] for v in call.inputs}:
            readers[storage] = readers.get(storage, 0) | 1 << index
    kinds = _kinds_in_arena(program)
    in_arena = {s for s in readers if program.values[s].kind in kinds}
    outputs = {owner[port.value] for port in program.outputs}
    given = {owner[port.value] for port in program.inputs} & in_arena

    def step(index: int) -> _Step:
        call = program.calls[index]
        needs = memory[call.kernel]
        reads = [owner[v] for v in call.inputs]
        writes = [owner[v] for v in call.outputs]
        return _Step(
            needs=sum({1 << producer[s] for s in reads if s in producer}),
            outputs=tuple(s for s in writes if s in in_arena),
            inputs=tuple(sorted({s for s in reads if s in in_arena})),
            in_place=tuple(
                (reads[i], writes[o])
                for i, o in needs.in_place
                if reads[i] in in_arena and writes[o] in in_arena and reads.count(reads[i]) == 1
            ),
            scratch_bytes=sum(needs.scratch_bytes) + needs.worker_scratch_bytes,
        )

    return _Problem(
        steps=tuple(step(index) for index in range(len(program.calls))),
        sizes={s: program.values[s].size_bytes for s in in_arena},
        readers=readers,
        kept=frozenset(outputs.union(owner[copy.source] for copy in program.copies)),
        given_bytes=sum(program.values[s].size_bytes for s in given),
    )


def _kinds_in_arena(program: Program) -> set[ValueKind]:
    if program.io_memory == "caller":
        return {ValueKind.BUFFER}
    return {ValueKind.BUFFER, ValueKind.INPUT, ValueKind.OUTPUT}


def _best_order(problem: _Problem) -> tuple[int, ...] | None:
    """The order whose largest need is least; None if there are too many states."""
    everything = (1 << len(problem.steps)) - 1
    queue: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, problem.given_bytes, ())]
    seen: set[int] = set()
    while queue:
        # Of equal needs the longest way first: chains are then walked without looking aside.
        peak, _, alive, order = heapq.heappop(queue)
        done = sum(1 << call for call in order)
        if done == everything:
            return order
        if done in seen:
            continue
        seen.add(done)
        if len(seen) > MOST_STATES:
            return None
        for call in problem.ready(done):
            need = max(peak, problem.during(alive, done, call))
            after = problem.after(alive, done, call)
            heapq.heappush(queue, (need, -len(order) - 1, after, (*order, call)))
    return ()


def _step_by_step(problem: _Problem) -> tuple[int, ...]:
    """Always the call after which least is alive, of these the one that needs least."""
    order: list[int] = []
    alive, done = problem.given_bytes, 0
    while len(order) < len(problem.steps):
        call = min(
            problem.ready(done),
            key=lambda c: (problem.after(alive, done, c), problem.during(alive, done, c), c),
        )
        alive, done = problem.after(alive, done, call), done | 1 << call
        order.append(call)
    return tuple(order)


def _peak(problem: _Problem, order: tuple[int, ...]) -> int:
    alive, done, most = problem.given_bytes, 0, 0
    for call in order:
        most = max(most, problem.during(alive, done, call))
        alive, done = problem.after(alive, done, call), done | 1 << call
    return most
