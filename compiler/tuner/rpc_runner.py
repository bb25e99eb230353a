"""Measure candidates on boards behind TVM's tracker, on several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition, Thread

from compiler.board_address import DEFAULT_TIMEOUT_S, BoardAddress
from compiler.errors import NotRunnableError, ToolchainError
from compiler.program import CompiledKernel
from compiler.runners.closed_on_exit import ClosedOnExit
from compiler.runners.tracker import Farm, ask_tracker
from compiler.target_spec import TargetSpec
from compiler.tuner.rpc_trials import RpcTrials
from compiler.tuner.trial import KernelData, Measured
from compiler.tuner.trial_board import TrialBoard, TrialLibrary
from compiler.tuning.record import Unit

_REPEATS = 5
_INTERRUPTED = NotRunnableError(
    "its trial was interrupted", why="this program did not wait for the answer", fix="start again"
)


class RpcRunner(ClosedOnExit):
    """A `TrialRunner` of all boards of a key; threads may measure side by side.

    Each board has a process of this machine to itself. A board that is lost or hangs is set aside
    for good, and what it was doing is done again by another one; a kernel that crashes or hangs is
    found out on the board, which stays.
    """

    def __init__(
        self,
        spec: TargetSpec,
        tracker: str,
        key: str,
        timeout_s: int = DEFAULT_TIMEOUT_S,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Return when the first board is there; the others join as they answer.

        Args:
            tracker: HOST:PORT.
            timeout_s: the longest that the tracker or a board may take for an answer; a kernel may
                take half of it.
            report: is told of each board that is set aside.

        Raises:
            NotRunnableError: the tracker or all boards of the key cannot be used.
            ToolchainError: the target's compiler is not there.
        """
        self._spec, self._key, self._report = spec, key, report
        self._address = BoardAddress(tracker=tracker, device_key=key, timeout_s=timeout_s)
        self.slots = _registered(ask_tracker(tracker, timeout_s), key)
        self._change = Condition()  # guards all that follows
        self._free: deque[TrialBoard] = deque()
        self._alive: dict[TrialBoard, str] = {}  # with their names
        self._opening = self.slots
        self._lost: list[str] = []
        self._is_closed = False
        self._temporary = TemporaryDirectory(prefix="tunesmith-trials-")
        try:
            self._trials = RpcTrials(spec, Path(self._temporary.name))
            for number in range(1, self.slots + 1):
                Thread(target=self._open, args=(number,), daemon=True).start()
            self._give_back(self._take())
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return "rpc"

    @property
    def unit(self) -> Unit:
        return "us"

    @property
    def conditions(self) -> str:
        with self._change:
            machines = sorted({board.machine.cpu for board in self._alive})
            lost = [f"set aside: {reason}" for reason in self._lost]
        how = f"one thread, {_REPEATS} repeats of 2 ms or one call, timed on the board"
        return "; ".join([*machines, how, *lost])

    @property
    def set_aside(self) -> tuple[str, ...]:
        """The boards that are used no more, and why."""
        with self._change:
            return tuple(self._lost)

    def measure(self, kernel: CompiledKernel, data: KernelData) -> Measured:
        (measured,) = self._measured([kernel], data, turns=1, repeats=_REPEATS)
        return measured

    def measure_in_turns(
        self, kernels: Sequence[CompiledKernel], data: KernelData, rounds: int
    ) -> tuple[Measured, ...]:
        """As the protocol says; all of them on the same board."""
        return self._measured(kernels, data, turns=rounds, repeats=1)

    def close(self) -> None:
        with self._change:
            self._is_closed = True
            boards = list(self._alive)
            self._alive.clear()
            self._free.clear()
            self._change.notify_all()
        for board in boards:
            board.close()
        self._temporary.cleanup()

    def _measured(
        self, kernels: Sequence[CompiledKernel], data: KernelData, *, turns: int, repeats: int
    ) -> tuple[Measured, ...]:
        with TemporaryDirectory(dir=self._temporary.name) as folder:
            built = [
                self._built(kernel, data, Path(folder), number)
                for number, kernel in enumerate(kernels)
            ]
            libraries = [one for one in built if isinstance(one, TrialLibrary)]
            measured = iter(self._on_a_board(libraries, data, turns, repeats))
            return tuple(next(measured) if isinstance(one, TrialLibrary) else one for one in built)

    def _built(
        self, kernel: CompiledKernel, data: KernelData, folder: Path, number: int
    ) -> TrialLibrary | Measured:
        place = folder / str(number)
        place.mkdir()
        try:
            return self._trials.build(kernel, data, place)
        except ToolchainError as failure:
            return Measured(outcome="not-built", reason=f"{failure.what}: {failure.why}")

    def _on_a_board(
        self, libraries: Sequence[TrialLibrary], data: KernelData, turns: int, repeats: int
    ) -> tuple[Measured, ...]:
        """Measure on one board; on another one if it is lost."""
        while libraries:
            board = self._take()
            try:
                measured = _in_turns(board, libraries, data, turns, repeats)
            except NotRunnableError as failure:
                self._set_aside(board, failure)
                continue
            except BaseException:  # Ctrl-C: an answer may be on its way that nobody waits for
                self._set_aside(board, _INTERRUPTED)
                raise
            self._give_back(board)
            return measured
        return ()

    def _open(self, number: int) -> None:
        """Get a board from the tracker; in a thread of its own, since that may take long."""
        name = f"board {number} of {self.slots} (`{self._key}`)"
        try:
            board = TrialBoard(self._spec, self._address, self._trials.questions)
        except NotRunnableError as failure:
            with self._change:
                self._opening -= 1
                self._note_lost(name, failure)
            return
        with self._change:
            self._opening -= 1
            is_late = self._is_closed
            if not is_late:
                self._alive[board] = name
                self._free.append(board)
            self._change.notify_all()
        if is_late:
            board.close()

    def _take(self) -> TrialBoard:
        """Wait for a board that is free.

        Raises:
            NotRunnableError: there will be none.
        """
        with self._change:
            while not self._free:
                if self._is_closed or not (self._alive or self._opening):
                    raise self._none_left()
                self._change.wait()
            return self._free.popleft()  # in turn: all are in use, and one that is lost shows

    def _give_back(self, board: TrialBoard) -> None:
        with self._change:
            if not self._is_closed:
                self._free.append(board)
            self._change.notify()

    def _set_aside(self, board: TrialBoard, failure: NotRunnableError) -> None:
        with self._change:
            name = self._alive.pop(board, "")
            if name:  # else this runner was closed meanwhile
                self._note_lost(name, failure)
        board.close()

    def _note_lost(self, name: str, failure: NotRunnableError) -> None:
        reason = f"{name}: {failure.what}"
        self._lost.append(reason)
        self._report(f"set aside {reason} ({failure.why})")
        self._change.notify_all()

    def _none_left(self) -> NotRunnableError:
        reasons = "; ".join(self._lost)
        return NotRunnableError(
            f"no {self._address} is left",
            why=reasons or "the runner is closed",
            fix="look at the boards (`tunesmith farm status` shows those that are registered), "
            "and go on with --resume",
        )


def _in_turns(
    board: TrialBoard, libraries: Sequence[TrialLibrary], data: KernelData, turns: int, repeats: int
) -> tuple[Measured, ...]:
    """Load all, measure each in every turn until it fails, and unload them."""
    names = [board.load(library) for library in libraries]
    results: list[list[Measured]] = [[] for _ in libraries]
    for _ in range(turns):
        for name, library, result in zip(names, libraries, results, strict=True):
            if not result or result[-1].outcome == "passed":
                result.append(board.measure(name, library, data, repeats))
    for name in names:
        board.unload(name)
    return tuple(_joined(result) for result in results)


def _joined(results: Sequence[Measured]) -> Measured:
    if results[-1].outcome != "passed":
        return results[-1]
    return Measured(
        outcome="passed", values=tuple(value for one in results for value in one.values)
    )


def _registered(farm: Farm, key: str) -> int:
    """How many boards the tracker has of the key.

    Raises:
        NotRunnableError: none.
    """
    count = farm.boards(key)
    if count == 0:
        keys = sorted({server.key for server in farm.servers})
        raise NotRunnableError(
            f"the tracker at {farm.tracker} has no board `{key}`",
            why=f"its keys are: {', '.join(keys)}" if keys else "it has no boards at all",
            fix="register the board: python -m tvm.exec.rpc_server --tracker "
            f"{farm.tracker} --key {key}",
        )
    return count
