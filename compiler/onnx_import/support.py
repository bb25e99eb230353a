"""Which operators can be compiled, and the error that names those that cannot."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from compiler.errors import UnsupportedError
from compiler.onnx_import.infer import ValueType
from compiler.onnx_import.model import Model, UnsupportedNode
from compiler.onnx_import.names import values_read
from compiler.onnx_import.refused_forms import GraphFacts, form_reason

if TYPE_CHECKING:
    import onnx

# The names in the convert map of TVM 0.27's ONNX importer; a test compares them.
CONVERT_MAP = """
Abs Acos Acosh Add AffineGrid AllClassNMS And ArgMax ArgMin Asin Asinh Atan Atanh Attention
AveragePool BatchNormalization BiasGelu BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
Cast CastLike Ceil Clip Compress Concat ConcatFromSequence Constant ConstantOfShape Conv
ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
DynamicQuantizeLinear Einsum Elu EmbedLayerNormalization Equal Erf Exp Expand EyeLike
FastGelu Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization
LeakyRelu Less LessOrEqual Log LogSoftmax LpPool MatMul MatMulInteger MatMulInteger16 Max
MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu
Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
Reshape Resize RoiAlign Round Scatter ScatterElements ScatterND Selu SequenceAt
SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink
Sigmoid Sign Sin Sinh Size SkipLayerNormalization Slice Softmax Softplus Softsign
SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
Transpose Trilu Unique Unsqueeze Upsample Where Xor
"""
# What `to_relax` adds to them.
OWN_CONVERSIONS = frozenset({"ConvInteger"})
CONVERTED = frozenset(CONVERT_MAP.split()) | OWN_CONVERSIONS

# Converted, but what comes out cannot become a kernel; and operators with a reason of their own.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"})
SEQUENCES = frozenset(
    {
        "ConcatFromSequence",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
    }
)
RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# TopK needs a sort in kernel form. The importer's Attention is com.microsoft's, not ONNX's.
NOT_YET = frozenset({"Attention", "TopK"})

REASONS = (
    (CONTROL_FLOW, "control flow that depends on data is not supported"),
    (RECURRENT, "recurrent layers are not supported yet"),
    (DATA_DEPENDENT, "the shape of its result depends on the data"),
    (SEQUENCES, "sequences and optional values are not supported"),
    (RANDOM, "random numbers cannot be compared with a reference"),
    (NOT_YET, "not supported yet"),
)

# Operands that must be known before run time: they decide shapes or loop structure.
CONSTANT_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}

# ONNX element types that kernels can hold, as numbered in TensorProto; the table of
# `compiler.program.ELEMENT_BYTES` by number. Others: strings, complex, float8, int4, ...
COMPILED_ELEMENTS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16})

# Results that are their operand under another shape.
SHAPE_ALIASES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})

NODES_NAMED = 10  # of one operator, in an error text


def operator_reason(domain: str, op_type: str) -> str | None:
    """Return why an operator cannot be compiled in any graph; None if it can."""
    import onnx

    if domain:
        return f"operators of domain `{domain}` are not supported"
    for operators, reason in REASONS:
        if op_type in operators:
            return reason
    if op_type in CONVERTED and onnx.defs.has(op_type):
        return None
    return "not supported yet" if onnx.defs.has(op_type) else "unknown operator: not in ONNX"


def unsupported_operators(nodes: Sequence[onnx.NodeProto]) -> tuple[UnsupportedNode, ...]:
    """Return the nodes whose operator cannot be compiled, in graph order.

    A node with a nested graph stands for everything in it.
    """
    found = []
    for node in nodes:
        reason = operator_reason(node.domain, node.op_type)
        if reason is not None:
            found.append(UnsupportedNode(op_type=node.op_type, node=node.name, reason=reason))
    return tuple(found)


def unsupported_nodes(
    model: onnx.ModelProto, types: Mapping[str, ValueType]
) -> tuple[UnsupportedNode, ...]:
    """Return the nodes of a folded graph that cannot be compiled, by operator, operand or type.

    A node behind one whose result is unknown is not reported: it may well be sound.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    read = {name for node in model.graph.node for name in values_read(node)}
    read |= {value.name for value in model.graph.output}
    facts = GraphFacts(read=read, constants=constants, types=types)
    found = list(_unsupported_inputs(model.graph, types))
    for node in model.graph.node:
        reason = (
            operator_reason(node.domain, node.op_type)
            or form_reason(node, facts)
            or _reason_here(node, types, constants)
        )
        if reason is not None:
            found.append(UnsupportedNode(op_type=node.op_type, node=node.name, reason=reason))
    return tuple(found)


def _unsupported_inputs(
    graph: onnx.GraphProto, types: Mapping[str, ValueType]
) -> list[UnsupportedNode]:
    return [
        UnsupportedNode(op_type="input", node=value.name, reason=_type_reason(value.name, types))
        for value in graph.input
        if types[value.name].element not in COMPILED_ELEMENTS
    ]


def _reason_here(
    node: onnx.NodeProto, types: Mapping[str, ValueType], constants: Container[str]
) -> str | None:
    """Return what is wrong with this node although its operator can be compiled."""
    for position in CONSTANT_OPERANDS.get(node.op_type, ()):
        name = node.input[position] if position < len(node.input) else ""
        if name and name not in constants:
            return f"its operand {position} (`{name}`) is computed at run time"
    if any(n and (n not in types or types[n].shape is None) for n in node.input):
        return None
    for name in node.output:
        if name and (name not in types or types[name].shape is None):
            return "the shape of its result depends on the data"
        if name and types[name].element not in COMPILED_ELEMENTS:
            return _type_reason(name, types)
    return None


def _type_reason(name: str, types: Mapping[str, ValueType]) -> str:
    import onnx

    element = onnx.TensorProto.DataType.Name(types[name].element).lower()
    kind = element if types[name].element else "no tensor"
    return f"`{name}` is {kind}, a type that is not supported"


def require_supported(model: Model) -> None:
    """Do nothing if the whole model can be compiled.

    Raises:
        UnsupportedError: names every operator and node that cannot.
    """
    if model.inventory.unsupported:
        raise unsupported_error(model.name, model.inventory.unsupported)


def unsupported_error(
    model_name: str, nodes: Sequence[UnsupportedNode], *, also: str = "", fix: str = ""
) -> UnsupportedError:
    """Return one error that names every operator and its nodes, ten of each at most."""
    groups: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        groups.setdefault((node.op_type, node.reason), []).append(node.node)
    operators = ", ".join(sorted({node.op_type for node in nodes}))
    lines = [
        f"{op_type}: {reason}; {_node_list(names)}" for (op_type, reason), names in groups.items()
    ]
    return UnsupportedError(
        f"model `{model_name}` cannot be compiled: {operators}",
        why="\n       ".join(lines + ([also] if also else [])),
        fix=fix
        or "replace these nodes in the model and export it again; "
        "`tunesmith inspect` shows the whole graph",
    )


def _node_list(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:NODES_NAMED])
    more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
    return f"{'node' if len(names) == 1 else 'nodes'} {shown}{more}"
