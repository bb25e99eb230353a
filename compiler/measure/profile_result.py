"""What a profile found: times of kernel calls, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from compiler.measure.peaks import Peaks

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Work done in a time, beside the machine's peaks.

    All from minimum times: what disturbs a run only makes it slower, and the peaks are the best
    of several trials too.
    """

    minimum_us: float
    median_us: float
    macs: int  # of direct convolution, whatever the kernel does instead
    bytes: int  # of inputs, weights and outputs, each once
    peaks: Peaks

    @property
    def gflops(self) -> float:
        return 2e-3 * self.macs / self.minimum_us if self.minimum_us else 0.0

    @property
    def gbytes_per_s(self) -> float:
        return 1e-3 * self.bytes / self.minimum_us if self.minimum_us else 0.0

    @property
    def compute_share(self) -> float:
        return self.peaks.compute_share(self.gflops)

    @property
    def memory_share(self) -> float:
        """Over 1 if the tensors stayed in a cache, which is faster than memory."""
        return self.peaks.memory_share(self.gbytes_per_s)

    @property
    def bound(self) -> str:
        """The peak that is nearer: it limits the time first."""
        return "compute" if self.compute_share >= self.memory_share else "memory"

    @property
    def peak_share(self) -> float:
        return max(self.compute_share, self.memory_share)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallProfile:
    """One kernel call of a run."""

    index: int  # its place in the run
    kernel: str
    operator: str
    onnx_nodes: tuple[str, ...]
    schedule_source: str  # "record", "rule" or "fallback"
    schedule_name: str
    rates: Rates
    share: float  # of the sum of all calls' minimum times

    @property
    def schedule(self) -> str:
        return f"{self.schedule_source}: {self.schedule_name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulePart:
    """All calls of one schedule together."""

    schedule: str
    calls: int
    rates: Rates
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileResult:
    """Every kernel call of an artifact, in program order."""

    calls: tuple[CallProfile, ...]
    run_minimum_us: float  # of whole runs: more than the calls' sum, each of which is its own best
    run_median_us: float
    peaks: Peaks
    settings: dict[str, Any]

    @property
    def total(self) -> Rates:
        return _together([call.rates for call in self.calls], self.peaks)

    @property
    def schedules(self) -> tuple[SchedulePart, ...]:
        """Return the calls grouped by schedule, longest first."""
        whole = self.total.minimum_us
        parts = []
        for schedule in dict.fromkeys(call.schedule for call in self.calls):
            members = [call.rates for call in self.calls if call.schedule == schedule]
            rates = _together(members, self.peaks)
            part = SchedulePart(
                schedule=schedule,
                calls=len(members),
                rates=rates,
                share=_share(rates.minimum_us, whole),
            )
            parts.append(part)
        return tuple(sorted(parts, key=lambda part: -part.rates.minimum_us))

    @property
    def longest_first(self) -> tuple[CallProfile, ...]:
        return tuple(sorted(self.calls, key=lambda call: (-call.rates.minimum_us, call.index)))

    def as_json(self) -> dict[str, Any]:
        peaks = self.peaks
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings,
            "peaks": {
                "fma_gflops": peaks.fma_gflops,
                "memory_gbytes_per_s": peaks.memory_gbytes_per_s,
                "threads": peaks.threads,
                "vector_bits": peaks.vector_bits,
            },
            "run": {"minimum_us": self.run_minimum_us, "median_us": self.run_median_us},
            "total": _rates_json(self.total),
            "schedules": [
                {
                    "schedule": part.schedule,
                    "calls": part.calls,
                    "share": part.share,
                    **_rates_json(part.rates),
                }
                for part in self.schedules
            ],
            "calls": [_call_json(call) for call in self.calls],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row per kernel call, in program order."""
        import pandas as pd

        return pd.DataFrame([_call_json(call) for call in self.calls])


def call_profiles(
    kernels: Sequence[dict[str, Any]], times_ns: Sequence[Sequence[int]], peaks: Peaks
) -> tuple[CallProfile, ...]:
    """Return the profile of each call.

    Args:
        kernels: the entries `kernels` of report.json.
        times_ns: the durations of each call, over runs.
    """
    minima = [min(times) for times in times_ns]
    return tuple(
        _call_profile(kernel, times, _share(min(times), sum(minima)), peaks)
        for kernel, times in zip(kernels, times_ns, strict=True)
    )


def _call_profile(
    kernel: dict[str, Any], times_ns: Sequence[int], share: float, peaks: Peaks
) -> CallProfile:
    return CallProfile(
        index=kernel["index"],
        kernel=kernel["kernel"],
        operator=kernel["operator"],
        onnx_nodes=tuple(kernel["onnx_nodes"]),
        schedule_source=kernel["schedule"]["source"],
        schedule_name=kernel["schedule"]["name"],
        rates=Rates(
            minimum_us=min(times_ns) / 1e3,
            median_us=median(times_ns) / 1e3,
            macs=kernel["macs"],
            bytes=kernel["bytes"],
            peaks=peaks,
        ),
        share=share,
    )


def _together(parts: Sequence[Rates], peaks: Peaks) -> Rates:
    def total(figure: Callable[[Rates], float]) -> float:
        return sum(map(figure, parts))

    return Rates(
        minimum_us=total(lambda part: part.minimum_us),
        median_us=total(lambda part: part.median_us),
        macs=sum(part.macs for part in parts),
        bytes=sum(part.bytes for part in parts),
        peaks=peaks,
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _rates_json(rates: Rates) -> dict[str, Any]:
    return {
        "minimum_us": rates.minimum_us,
        "median_us": rates.median_us,
        "macs": rates.macs,
        "bytes": rates.bytes,
        "gflops": rates.gflops,
        "gbytes_per_s": rates.gbytes_per_s,
        "compute_share": rates.compute_share,
        "memory_share": rates.memory_share,
        "peak_share": rates.peak_share,
        "bound": rates.bound,
    }


def _call_json(call: CallProfile) -> dict[str, Any]:
    return {
        "index": call.index,
        "kernel": call.kernel,
        "operator": call.operator,
        "onnx_nodes": list(call.onnx_nodes),
        "schedule_source": call.schedule_source,
        "schedule_name": call.schedule_name,
        "share": call.share,
        **_rates_json(call.rates),
    }
