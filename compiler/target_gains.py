"""What quantizing a model gains on given targets: both models' needs, side by side.

Instructions are estimated where the kernels of both are plain C; where they are not, and the target
has an emulator, both libraries are built and counted in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiler.errors import NotRunnableError, ToolchainError
from compiler.estimate import estimate
from compiler.measure.bench import bench
from compiler.onnx_import.load import load_model
from compiler.target_spec import load_target


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What is needed: the true number lies within `need` +- `error`, which is 0 if counted."""

    need: int
    error: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetGain:
    """Needs of the float model and of the quantized one on one target."""

    target: str
    # Of a run; None where nothing here can tell: a target without an emulator, or no toolchain.
    float_instructions: Need | None
    instructions: Need | None
    float_library_bytes: Need
    library_bytes: Need

    @property
    def instruction_ratio(self) -> float | None:
        """Instructions of the quantized model over those of the float one."""
        if self.float_instructions is None or self.instructions is None:
            return None
        return self.instructions.need / self.float_instructions.need

    @property
    def library_ratio(self) -> float:
        """Bytes of the quantized model's library over those of the float one's."""
        return self.library_bytes.need / self.float_library_bytes.need

    def as_json(self) -> dict[str, Any]:
        """Return the machine form."""
        ratios = {
            "instruction_ratio": self.instruction_ratio,
            "library_ratio": self.library_ratio,
        }
        return asdict(self) | ratios


def target_gains(
    model: str | Path,
    quantized: str | Path,
    targets: Sequence[str],
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    values: Mapping[str, float | int | bool] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[TargetGain, ...]:
    """Estimate both models on each target, as `inspect --target` does, or count as `bench` does.

    Args:
        quantized: what `quantize` made of `model`.
        shapes, values: of both models' inputs.

    Raises:
        UnsupportedError: a model cannot be compiled.
    """
    files = (Path(model), Path(quantized))
    gains = []
    for target in targets:
        report(f"estimating for {target}")
        needs = [_estimated(path, target, shapes, values) for path in files]
        runs = [need.get("instruction_count") for need in needs]
        if None in runs:  # counts of one are not compared with an estimate of the other
            report(f"counting instructions on {target}")
            runs = [_counted(path, target, shapes, values) for path in files]
        gains.append(
            TargetGain(
                target=target,
                float_instructions=runs[0],
                instructions=runs[1],
                float_library_bytes=needs[0]["library_bytes"],
                library_bytes=needs[1]["library_bytes"],
            )
        )
    return tuple(gains)


def _estimated(
    path: Path,
    target: str,
    shapes: Mapping[str, tuple[int, ...]] | None,
    values: Mapping[str, float | int | bool] | None,
) -> dict[str, Need]:
    """What can be estimated, by the name of its limit."""
    amounts = estimate(load_model(path, shapes=shapes, values=values), load_target(target)).amounts
    return {
        amount.limit: Need(need=amount.need, error=amount.error)
        for amount in amounts
        if amount.need is not None
    }


def _counted(
    path: Path,
    target: str,
    shapes: Mapping[str, tuple[int, ...]] | None,
    values: Mapping[str, float | int | bool] | None,
) -> Need | None:
    """Instructions of a run in the target's emulator; None without it, or without a toolchain."""
    if load_target(target).runner.kind != "emulator":
        return None
    try:
        result = bench([path], target=target, against=(), shapes=shapes, values=values)
    except (NotRunnableError, ToolchainError):
        return None
    count = result.models[0].timings[0].instruction_count
    return None if count is None else Need(need=count, error=0)
