"""Read an ONNX file and the weights beside it, and check that both are sound."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import ModelError
from compiler.onnx_import.names import all_nodes, name_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

OLDEST_OPSET = 7  # onnxruntime runs nothing older, and broadcasting was another before
PROTOBUF_LIMIT_BYTES = 2**31 - 1  # a protobuf message cannot be larger
MAIN_DOMAIN = "ai.onnx"
UNKNOWN_DOMAIN = "unknown.operators"  # where the check puts operators that ONNX does not define


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A checked file: weights read in, functions expanded, every node named."""

    proto: onnx.ModelProto
    digest: str  # sha256 of the file and its external data
    opset: int


def read_model(path: Path) -> ModelFile:
    """Read and check an ONNX file.

    Raises:
        ModelError: the file or its external data cannot be read, or is not valid ONNX.
    """
    content = _read_bytes(path)
    digest = hashlib.sha256(content)
    proto = _parse(path, content)
    for data_file in _external_files(path, proto):
        digest.update(_read_bytes(data_file))
    _read_external(path, proto)
    opset = _check_opset(path, proto)
    _drop_default_inputs(proto)
    _shorten_main_domain(proto)
    _check(path, proto)
    proto = _expand_functions(proto)
    name_nodes(proto.graph.node)
    return ModelFile(proto=proto, digest=digest.hexdigest(), opset=opset)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ModelError(
            f"{path}: cannot be read",
            why=cause.strerror or str(cause),
            fix="give the path of an ONNX file that exists and that you may read",
        ) from cause


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    if not content:
        raise ModelError(
            f"{path}: the file is empty",
            why="it has 0 bytes; an ONNX file holds a graph",
            fix="export or download the model again",
        )
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as cause:
        # Field 1 of a model is its IR version, a small varint, and writers put it first.
        if content[:1] == b"\x08" and len(content) > 16:
            raise ModelError(
                f"{path}: the file is truncated or damaged",
                why=f"it starts like an ONNX model but cannot be read to its end "
                f"({len(content):,} bytes)",
                fix="download or export the model again and compare the sizes",
            ) from cause
        raise _not_onnx(path, "its bytes are no protobuf message") from cause
    if not proto.ir_version or not proto.HasField("graph"):
        raise _not_onnx(path, "it holds no ONNX graph")
    return proto


def _not_onnx(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: not an ONNX file",
        why=why,
        fix="give an ONNX model; export others first, for example with torch.onnx or tf2onnx",
    )


def _external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    import onnx

    tensors = list(proto.graph.initializer)
    for node in all_nodes(proto.graph.node):
        tensors += [a.t for a in node.attribute if a.HasField("t")]
        tensors += [i for a in node.attribute if a.HasField("g") for i in a.g.initializer]
    yield from (t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)


def _external_files(path: Path, proto: onnx.ModelProto) -> list[Path]:
    """Return the files with external data, sorted, after checking that they are there."""
    tensor_of: dict[str, str] = {}
    for tensor in _external_tensors(proto):
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        tensor_of.setdefault(location, tensor.name)
    files = []
    for location, tensor_name in sorted(tensor_of.items()):
        file = path.parent / location
        if not file.is_file():
            raise ModelError(
                f"{path}: the external data file `{location}` is missing",
                why=f"it holds the numbers of tensor `{tensor_name}`",
                fix=f"put `{location}` in the folder of the ONNX file",
            )
        files.append(file)
    total = path.stat().st_size + sum(file.stat().st_size for file in files)
    if total > PROTOBUF_LIMIT_BYTES:
        raise ModelError(
            f"{path}: the model is too large",
            why=f"it has {total:,} bytes; models of at most {PROTOBUF_LIMIT_BYTES:,} bytes, "
            "external data included, can be read",
            fix="split the model, or store its weights in a smaller type",
        )
    return files


def _read_external(path: Path, proto: onnx.ModelProto) -> None:
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    tensors = list(_external_tensors(proto))
    try:
        load_external_data_for_model(proto, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as cause:
        raise ModelError(
            f"{path}: the external data cannot be used",
            why=_first_line(cause),
            fix="write the model again with onnx.save(..., save_as_external_data=True)",
        ) from cause
    for tensor in tensors:
        tensor.ClearField("data_location")  # as if it had been inside from the start


def _check_opset(path: Path, proto: onnx.ModelProto) -> int:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    versions = [o.version for o in proto.opset_import if o.domain in ("", MAIN_DOMAIN)]
    if not versions:
        raise ModelError(
            f"{path}: no opset version",
            why="the file does not say which version of the ONNX operators it uses",
            fix="set opset_import when the model is written",
        )
    if not OLDEST_OPSET <= versions[0] <= newest:
        raise ModelError(
            f"{path}: opset {versions[0]} cannot be read",
            why=f"opset {OLDEST_OPSET} to {newest} can (onnx {onnx.__version__})",
            fix="export the model with an opset of that range, for example 18",
        )
    return int(versions[0])


def _drop_default_inputs(proto: onnx.ModelProto) -> None:
    """Make inputs that have an initializer plain constants (IR version 3 lists all of them)."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    proto.ir_version = max(proto.ir_version, 4)  # 4 is the first that allows it


def _shorten_main_domain(proto: onnx.ModelProto) -> None:
    """Write the domain of the standard operators as '', its other spelling, in place."""
    nodes = [*proto.graph.node, *(node for f in proto.functions for node in f.node)]
    imports = [*proto.opset_import, *(entry for f in proto.functions for entry in f.opset_import)]
    for item in (*all_nodes(nodes), *imports):
        if item.domain == MAIN_DOMAIN:
            item.domain = ""


def _check(path: Path, proto: onnx.ModelProto) -> None:
    """Run the ONNX checker; operators that ONNX does not know are left for the inventory."""
    import onnx

    if not proto.graph.output or not proto.graph.node:
        missing = "output" if not proto.graph.output else "node"
        raise ModelError(
            f"{path}: the graph has no {missing}",
            why="there is nothing to compute",
            fix=f"export the model with at least one {missing}",
        )
    checked = onnx.ModelProto()
    checked.CopyFrom(proto)
    for value in (*checked.graph.input, *checked.graph.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()  # may be left out; --shape gives it
    _move_unknown_operators(checked)
    try:
        onnx.checker.check_model(checked)
    except (onnx.checker.ValidationError, ValueError) as cause:
        raise ModelError(
            f"{path}: not a valid ONNX model",
            why=_first_line(cause),
            fix="export the model again, or repair the graph at that place",
        ) from cause


def _move_unknown_operators(proto: onnx.ModelProto) -> None:
    """Put operators that no ONNX version defines into a domain the checker ignores, in place."""
    unknown = False
    for node in all_nodes(proto.graph.node):
        if not node.domain and not is_onnx_operator(node.op_type):
            node.domain, unknown = UNKNOWN_DOMAIN, True
    if unknown:
        proto.opset_import.add(domain=UNKNOWN_DOMAIN, version=1)


def is_onnx_operator(op_type: str) -> bool:
    """Return whether the installed onnx package defines the operator, in any version."""
    import onnx

    return bool(onnx.defs.has(op_type))


def _expand_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its own functions written out."""
    import onnx.inliner

    return onnx.inliner.inline_local_functions(proto) if proto.functions else proto


def _first_line(cause: BaseException) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__
