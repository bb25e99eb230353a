"""What the check of single kernels needs from an artifact's ``report.json``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.artifact.manifest import Artifact

Held = tuple[int, int, int]  # storage, offset and size in bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedValue:
    """A tensor of the program; ``offset`` is into the weights blob for a constant."""

    id: int
    kind: str
    dtype: str
    shape: tuple[int, ...]
    storage: int
    onnx_name: str | None
    offset: int | None
    channel_block: int | None  # [N, C/B, H, W, B] of ONNX's [N, C, H, W]; None: ONNX's order
    offset_bytes: int  # of its first element in the storage

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def held(self) -> Held:
        """Which bytes it holds: the same for all views of the same elements."""
        return self.storage, self.offset_bytes, self.size_bytes

    def overlaps(self, other: ReportedValue) -> bool:
        """Whether it holds any byte that the other holds."""
        begin = max(self.offset_bytes, other.offset_bytes)
        ends = (value.offset_bytes + value.size_bytes for value in (self, other))
        return self.storage == other.storage and begin < min(ends)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedCall:
    """One kernel call: its functions in order and the values it reads and writes."""

    index: int
    kernel: str
    operator: str
    onnx_nodes: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    phases: tuple[tuple[str, int], ...]  # symbol, extent
    scratch_bytes: tuple[int, ...]
    worker_scratch_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactReport:
    """Values by id and calls in execution order."""

    values: tuple[ReportedValue, ...]
    calls: tuple[ReportedCall, ...]
    ports: tuple[tuple[str, int], ...]  # name and value id of the model's inputs and outputs

    def onnx_names(self) -> dict[Held, str]:
        """Return one ONNX name for the bytes that have any: views hold the same elements."""
        names = {self.values[value].held: name for name, value in self.ports}
        for value in self.values:
            if value.onnx_name:
                names.setdefault(value.held, value.onnx_name)
        return names


def read_report(artifact: Artifact) -> ArtifactReport:
    """Return the kernel calls of an artifact.

    Raises:
        ArtifactError: ``report.json`` is missing or damaged.
    """
    data = artifact.report()
    return ArtifactReport(
        values=tuple(_value(item) for item in data["values"]),
        calls=tuple(_call(item) for item in data["kernels"]),
        ports=tuple((port["name"], port["value"]) for port in data["inputs"] + data["outputs"]),
    )


def _value(item: dict[str, Any]) -> ReportedValue:
    return ReportedValue(
        id=item["id"],
        kind=item["kind"],
        dtype=item["dtype"],
        shape=tuple(item["shape"]),
        storage=item["storage"],
        onnx_name=item["onnx_name"],
        offset=item.get("offset"),
        channel_block=item["channel_block"],
        offset_bytes=item["offset_bytes"],
    )


def _call(item: dict[str, Any]) -> ReportedCall:
    return ReportedCall(
        index=item["index"],
        kernel=item["kernel"],
        operator=item["operator"],
        onnx_nodes=tuple(item["onnx_nodes"]),
        inputs=tuple(item["inputs"]),
        outputs=tuple(item["outputs"]),
        phases=tuple((phase["symbol"], phase["extent"]) for phase in item["phases"]),
        scratch_bytes=tuple(item["scratch_bytes"]),
        worker_scratch_bytes=item["worker_scratch_bytes"],
    )
