"""What a comparison of schedules found: times, texts, and which one to prefer."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from compiler.errors import InputError
from compiler.measure.kernel_list import Kernel
from compiler.measure.tir_text import SideBySide, readable_tir
from compiler.measure.variants import DEFAULT, Variant
from compiler.tuner.trial import Measured
from compiler.tuning.record import Unit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredVariant:
    """One schedule, and how it ran. One that failed has no values and no rank."""

    variant: Variant
    measured: Measured

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def passed(self) -> bool:
        """Whether its numbers were checked and it was measured."""
        return self.measured.outcome == "passed" and bool(self.measured.values)

    @property
    def minimum(self) -> float:
        return min(self.measured.values) if self.passed else float("nan")

    @property
    def median(self) -> float:
        return median(self.measured.values) if self.passed else float("nan")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Comparison:
    """Schedules of one kernel, measured in turns. Printed, or in a notebook, it is the table."""

    kernel: Kernel
    results: tuple[MeasuredVariant, ...]  # in the order in which they were given
    unit: Unit  # of one call
    conditions: str  # the machine by its own words, and how it measures

    def __getitem__(self, name: str) -> MeasuredVariant:
        for result in self.results:
            if result.name == name:
                return result
        raise InputError(
            f"there is no schedule `{name}`",
            why=f"compared were {', '.join(result.name for result in self.results)}",
            fix="name one of these",
        )

    @property
    def ranking(self) -> tuple[MeasuredVariant, ...]:
        """Those that passed, by their medians, best first."""
        return tuple(sorted((one for one in self.results if one.passed), key=_by_median))

    def gflops(self, name: str) -> float:
        """Return two operations for each multiply-accumulate over the minimum; else NaN."""
        result = self[name]
        if self.unit != "us" or not self.kernel.task.macs or not result.passed:
            return float("nan")
        return 2e-3 * self.kernel.task.macs / result.minimum

    def table(self) -> pd.DataFrame:
        """Return one row for each schedule, best first; those that failed last, without a rank.

        `min` and `median` are of one call in `unit`; `to_default` is the default's median over
        this one's: over 1 is better than the default. `scratch_bytes` are those of one thread.
        """
        import pandas as pd

        failed = [result for result in self.results if not result.passed]
        ranked = enumerate(self.ranking, start=1)
        rows = [self._row(result, rank) for rank, result in ranked]
        rows += [self._row(result, None) for result in failed]
        frame = pd.DataFrame(rows)
        return frame.astype(dict.fromkeys(("rank", "code_bytes", "scratch_bytes"), "Int64"))

    def _row(self, result: MeasuredVariant, rank: int | None) -> dict[str, Any]:
        built = result.variant.kernel
        memory = None if built is None else built.memory
        return {
            "rank": rank,
            "name": result.name,
            "schedule": result.variant.schedule,
            "checked": result.passed,
            "unit": self.unit,
            "min": result.minimum,
            "median": result.median,
            "gflops": self.gflops(result.name),
            "to_default": self[DEFAULT].median / result.median,
            "code_bytes": None if built is None else built.code_bytes,
            "scratch_bytes": memory and sum(memory.scratch_bytes) + memory.worker_scratch_bytes,
            "outcome": result.measured.outcome,
            "reason": result.measured.reason,
        }

    def tir(self, name: str) -> str:
        """Return the scheduled kernel as TVM's script, for reading.

        Raises:
            InputError: there is no such schedule.
        """
        result = self[name]
        if result.variant.func is None:
            raise InputError(
                f"`{name}` has no TIR",
                why=result.variant.reason,
                fix="look at another schedule, or mend this one",
            )
        return readable_tir(result.variant.func)

    def side_by_side(self, one: str, other: str) -> SideBySide:
        """Return the TIR of two schedules, line beside line, with what differs marked.

        Raises:
            InputError: as `tir`.
        """
        return SideBySide(names=(one, other), texts=(self.tir(one), self.tir(other)))

    @property
    def title(self) -> str:
        task, spec = self.kernel.task, self.kernel.spec
        return (
            f"{task.kernel}, {task.macs:,} multiply-accumulates a call, on {spec.name}, "
            f"{spec.cores.count} thread(s); min and median in {self.unit}"
        )

    def __repr__(self) -> str:
        return f"{self.title}\n{self._shown().to_string(index=False)}\n{self.conditions}"

    def _repr_html_(self) -> str:
        table = self._shown().to_html(index=False)
        return f"<p>{escape(self.title)}</p>{table}<p>{escape(self.conditions)}</p>"

    def _shown(self) -> pd.DataFrame:
        """The table for reading: rounded, without columns that say nothing here."""
        frame = self.table().drop(columns=["unit"])
        says_nothing = [name for name in ("gflops", "reason") if _is_empty(frame[name])]
        rounded = frame.drop(columns=says_nothing).round(2)
        return rounded.astype(object).where(rounded.notna(), "")


def _is_empty(column: pd.Series[Any]) -> bool:
    return bool((column.isna() | (column == "")).all())


def _by_median(result: MeasuredVariant) -> tuple[float, str]:
    return result.median, result.name
