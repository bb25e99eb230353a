"""What an artifact says of itself, and reading it back. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from compiler.artifact.json_records import from_json
from compiler.board_address import BoardAddress
from compiler.errors import ArtifactError
from compiler.memory_plan import TensorPlace
from compiler.program import ELEMENT_BYTES, Quantization

FORMAT = "tunesmith-artifact"
SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
REPORT_NAME = "report.json"
VERIFICATION_NAME = "verification.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """The model that was compiled."""

    name: str
    digest: str  # sha256 of the user's file and its external data


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetInfo:
    """The target that it was compiled for."""

    name: str
    family: str
    triple: str
    fingerprint: str  # TargetSpec.fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerInfo:
    """How the library can be tried: `[runner]` and `[toolchain]` of the spec."""

    kind: str
    command: tuple[str, ...]  # of an emulator and its arguments
    cc: tuple[str, ...]  # links the program that calls the library there
    board: BoardAddress | None = None  # of kind "rpc"


THIS_PROCESS = RunnerInfo(kind="native", command=(), cc=("cc",))


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRecord:
    """An input or output."""

    name: str  # as in the ONNX file
    c_name: str  # member of <prefix>_inputs or <prefix>_outputs
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None
    place: TensorPlace | None = None  # where it may lie in the memory of a run, if it may

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionRecord:
    name: str
    size_bytes: int
    alignment: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTotals:
    """Bytes that a run needs; `weight_bytes` are in the library."""

    regions: tuple[RegionRecord, ...]
    arena_bytes: int
    lower_bound_bytes: int
    worker_scratch_bytes: int  # for each thread but the first
    weight_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What the build depended on besides model and target."""

    options: Mapping[str, Any]  # plain JSON values
    tool_versions: Mapping[str, str]
    stages: tuple[str, ...]
    records_used: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """manifest.json."""

    format: str
    schema_version: int
    abi_version: int
    symbol_prefix: str
    model: ModelInfo
    target: TargetInfo
    runner: RunnerInfo
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    memory: MemoryTotals
    cpu_features: tuple[str, ...]  # LLVM names of what the code needs beyond the baseline
    provenance: Provenance
    shared_library: str | None  # path in the artifact; None where no system could load one
    static_library: str
    files: Mapping[str, str]  # sha256 of each file, but of this one and of verification.json

    @property
    def precision(self) -> str:
        """What products are computed in; artifacts of before that was a choice say nothing."""
        return str(self.provenance.options.get("precision", "float32"))

    @property
    def has_half_weights(self) -> bool:
        """Whether weights were rounded to 16 bits (``--weights fp16``)."""
        return bool(self.provenance.options.get("weights") == "fp16")

    @property
    def has_integer_io(self) -> bool:
        """Whether the caller quantizes what is float in the ONNX file (``--io int8``)."""
        return bool(self.provenance.options.get("io", "model") == "int8")

    @property
    def has_io_in_arena(self) -> bool:
        """Whether inputs and outputs have places in the arena (``--io-memory arena``)."""
        return bool(self.provenance.options.get("io_memory", "caller") == "arena")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A folder with a compiled model, its manifest read and checked."""

    path: Path
    manifest: Manifest

    @property
    def library_path(self) -> Path:
        """The shared library; the static one where that is all there is."""
        return self.path / (self.manifest.shared_library or self.manifest.static_library)

    @property
    def static_library_path(self) -> Path:
        return self.path / self.manifest.static_library

    @property
    def report_path(self) -> Path:
        return self.path / REPORT_NAME

    @property
    def verification_path(self) -> Path:
        return self.path / VERIFICATION_NAME

    def report(self) -> dict[str, Any]:
        """Return report.json, checked against its digest."""
        check_digest(self, REPORT_NAME)
        report: dict[str, Any] = json.loads(self.report_path.read_text(encoding="utf-8"))
        return report


def read_artifact(path: Path) -> Artifact:
    """Return the artifact in the folder `path`; its library is checked by its digest.

    Raises:
        ArtifactError: there is none, its manifest is damaged or of another version, or the
            library is not the one that the manifest was written for.
    """
    artifact = Artifact(path=path, manifest=_read_manifest(path))
    check_digest(artifact, artifact.library_path.relative_to(path).as_posix())
    return artifact


def check_digest(artifact: Artifact, name: str) -> None:
    """Raise `ArtifactError` if the file `name` is missing or has changed since it was written."""
    expected = artifact.manifest.files.get(name)
    try:
        actual = file_digest(artifact.path / name)
    except OSError as cause:
        raise ArtifactError(
            f"{artifact.path}: {name} cannot be read",
            why=f"{cause.strerror}; the artifact is incomplete",
            fix="compile the model again, or copy the whole folder",
        ) from cause
    if actual != expected:
        raise ArtifactError(
            f"{artifact.path}: {name} is damaged",
            why=f"its sha256 is {actual[:12]}..., the manifest says {str(expected)[:12]}...",
            fix="compile the model again, or copy the folder once more",
        )


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> Manifest:
    try:
        data = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))
    except OSError as cause:
        raise ArtifactError(
            f"{path} is not an artifact",
            why=f"{MANIFEST_NAME} cannot be read: {cause.strerror}",
            fix="give the folder that `tunesmith compile -o` wrote",
        ) from cause
    except ValueError as cause:
        raise _damaged(path, f"it is not JSON: {cause}") from cause
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _damaged(path, f'it does not say "format": "{FORMAT}"')
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: schema version {data.get('schema_version')} of the manifest is not known",
            why=f"this tunesmith reads version {SCHEMA_VERSION}",
            fix="compile the model again, or use the tunesmith that wrote the artifact",
        )
    try:
        return from_json(Manifest, data)
    except ValueError as cause:
        raise _damaged(path, str(cause)) from cause


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: {MANIFEST_NAME} is damaged",
        why=why,
        fix="compile the model again, or copy the folder once more",
    )
