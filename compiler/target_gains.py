"""What quantizing a model gains on given targets: both models' needs, side by side.

Instructions are estimated where kernels are plain C; where they are not, and the target has an
emulator, the libraries are built and counted in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
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
    needs_of = partial(_needs, shapes=shapes, values=values)
    gains = []
    for target in targets:
        report(f"estimating for {target}")
        before, after = (needs_of(Path(path), target) for path in (model, quantized))
        gains.append(
            TargetGain(
                target=target,
                float_instructions=before[0],
                instructions=after[0],
                float_library_bytes=before[1],
                library_bytes=after[1],
            )
        )
    return tuple(gains)


def _needs(
    path: Path,
    target: str,
    shapes: Mapping[str, tuple[int, ...]] | None,
    values: Mapping[str, float | int | bool] | None,
) -> tuple[Need | None, Need]:
    """Instructions of a run and bytes of the library."""
    spec = load_target(target)
    amounts = estimate(load_model(path, shapes=shapes, values=values), spec).amounts
    found = {
        amount.limit: Need(need=amount.need, error=amount.error)
        for amount in amounts
        if amount.need is not None
    }
    instructions = found.get("instruction_count")
    if instructions is None and spec.runner.kind == "emulator":
        instructions = _counted(path, target, shapes, values)
    return instructions, found["library_bytes"]


def _counted(
    path: Path,
    target: str,
    shapes: Mapping[str, tuple[int, ...]] | None,
    values: Mapping[str, float | int | bool] | None,
) -> Need | None:
    """Instructions of a run in the target's emulator; None if it or the toolchain is missing."""
    try:
        result = bench([path], target=target, against=(), shapes=shapes, values=values)
    except (NotRunnableError, ToolchainError):
        return None
    count = result.models[0].timings[0].instruction_count
    return None if count is None else Need(need=count, error=0)
