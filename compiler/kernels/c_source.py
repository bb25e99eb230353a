"""A lowered kernel as C99: no headers of TVM, exact constants, pointers that say what they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import sym, tirx
from tvm.tirx import PrimFunc
from tvm_ffi import structural

from compiler.kernels.c_expressions import Expressions
from compiler.kernels.c_types import c_type, stored_type

_SMALL_CODE = """#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os")
#endif
"""
_HEADERS = "#include <math.h>\n#include <stdint.h>\n#include <string.h>\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class CFunction:
    """A function, its prototype without the semicolon, and the helpers that it calls."""

    prototype: str
    body: str
    helpers: dict[str, str]


def c_function(func: PrimFunc, symbol: str, input_count: int) -> CFunction:
    """Return the C of a phase that `lower_to_code` was given.

    Args:
        input_count: how many of its pointers, from the first one, are only read.
    """
    return _Writer(func, symbol, input_count).function()


def c_file(
    title: str,
    functions: list[CFunction],
    *,
    for_size: bool = False,
    externals: tuple[str, ...] = (),
) -> str:
    """Return a source file that defines the functions.

    Args:
        externals: declarations of what they call and the file does not define.
        for_size: ask GCC, which has a word for it, for small code whatever its options are.
    """
    helpers = {name: text for f in functions for name, text in f.helpers.items()}
    parts = [f"/* {title}. Generated. */\n{_SMALL_CODE if for_size else ''}{_HEADERS}"]
    parts += [f"{text}\n" for text in externals]
    parts += [helpers[name] + "\n" for name in sorted(helpers)]
    # Some compilers want a prototype before an external definition.
    parts += ["".join(f"{f.prototype};\n" for f in functions)]
    parts += [f"{f.prototype}\n{f.body}" for f in functions]
    return "\n".join(parts)


class _Writer:
    """Writes one function. Buffers are known by pointer variables; views are resolved on use."""

    def __init__(self, func: PrimFunc, symbol: str, input_count: int) -> None:
        self._func = func
        self._symbol = symbol
        self._input_count = input_count
        self._names: list[tuple[Any, str]] = []
        self._by_hash: dict[int, str] = {}
        self._taken: dict[str, int] = {}
        self._expressions = Expressions(self._name, self._element)
        self._is_used = _variables_read(func)
        self._simple = sym.Analyzer().simplify
        self._views: dict[int, Any] = {}  # by hash of the buffer: what its pointer is

    def function(self) -> CFunction:
        parameters = [self._parameter(i, p) for i, p in enumerate(self._func.params)]
        prototype = f"void {self._symbol}({', '.join(parameters)})"
        unused = [p for p in self._func.params if _key(p) not in self._is_used]
        lines = [f"(void){self._name(p)};" for p in unused]
        lines += list(self._statements(self._func.body))
        body = "\n".join(f"    {line}" if line else "" for line in lines)
        return CFunction(
            prototype=prototype, body=f"{{\n{body}\n}}\n", helpers=self._expressions.helpers
        )

    def _parameter(self, index: int, parameter: Any) -> str:
        name = self._name(parameter)
        pointee = getattr(parameter.ty, "element_type", None)
        if pointee is None:
            return f"{c_type(str(parameter.ty.dtype))} {name}"
        attrs = self._func.attrs
        is_alone = attrs is not None and "tirx.noalias" in attrs
        element = str(getattr(pointee, "dtype", "void"))
        kind = "void" if element in ("void", "") else stored_type(element)
        const = "const " if index < self._input_count else ""
        return f"{const}{kind} *{'restrict ' if is_alone else ''}{name}"

    def _name(self, variable: Any) -> str:
        key = _key(variable)
        if key not in self._by_hash:
            base = "".join(c if c.isalnum() else "_" for c in str(variable.name)).lower() or "v"
            base = base if base[0].isalpha() else f"v{base}"
            if base in _RESERVED:
                base = f"{base}_"
            count = self._taken.get(base, 0)
            self._taken[base] = count + 1
            self._by_hash[key] = f"{base}_{count}" if count else base
            self._names.append((variable, base))  # keeps the object, and so its key, alive
        return self._by_hash[key]

    def _element(self, buffer: Any, index: str) -> str:
        return f"{self._pointer(buffer)}[{index}]"

    def _pointer(self, buffer: Any) -> str:
        """C text for the address of a buffer's first element, of the buffer's own type."""
        data = self._views.get(_key(buffer))
        if data is None:
            return self._name(buffer)
        wanted = str(buffer.ty.dtype)
        return self._address(data, wanted)

    def _address(self, data: Any, dtype: str) -> str:
        source = _data_owner(data)
        if source is not None:
            own = str(source.ty.dtype)
            text = self._pointer(source)
            return text if own == dtype else f"(({c_type(dtype)} *){text})"
        return self._name(data)

    # ---- statements ----

    def _statements(self, node: Any) -> Iterator[str]:
        if isinstance(node, tirx.SeqStmt):
            for statement in node.seq:
                yield from self._statements(statement)
        elif isinstance(node, tirx.AttrStmt):
            yield from self._statements(node.body)
        elif isinstance(node, tirx.DeclBuffer):
            yield from self._view(node)
        elif isinstance(node, tirx.AllocBuffer):
            size = prod(int(extent) for extent in node.buffer.ty.shape)
            kind = c_type(str(node.buffer.ty.dtype))
            if _key(node.buffer) in self._is_used:
                yield f"{kind} {self._name(node.buffer)}[{size}];"
        elif isinstance(node, tirx.Bind):
            yield from self._bind(node)
        elif isinstance(node, tirx.BufferStore):
            yield from self._store(node)
        elif isinstance(node, tirx.For):
            yield from self._loop(node)
        elif isinstance(node, tirx.IfThenElse):
            yield from self._branch(node)
        elif isinstance(node, tirx.While):
            yield from self._while(node)
        elif isinstance(node, tirx.Evaluate):
            yield from self._evaluate(node)
        else:
            raise TypeError(f"no C for the statement {type(node).__name__}")

    def _written(self, *nodes: Any) -> tuple[list[str], list[str]]:
        texts = [self._expressions.write(node) for node in nodes]
        return self._expressions.take_pending(), texts

    def _view(self, node: Any) -> Iterator[str]:
        """A view of bytes is a pointer of its own; other views are names for what they show."""
        data = node.data
        if not isinstance(data, tvm.ir.Call) or _operator(data) != "handle_add_byte_offset":
            self._views[_key(node.buffer)] = data
        elif _key(node.buffer) in self._is_used:
            base, offset = data.args
            kind = c_type(str(node.buffer.ty.dtype))
            start = f"(unsigned char *){self._name(base)} + {self._expressions.write(offset)}"
            yield f"{kind} *const {self._name(node.buffer)} = ({kind} *)({start});"

    def _bind(self, node: Any) -> Iterator[str]:
        if _key(node.var) not in self._is_used:
            return
        before, (value,) = self._written(node.value)
        self._expressions.parities.bind(node.var, node.value)
        yield from before
        yield f"const {c_type(str(node.var.ty.dtype))} {self._name(node.var)} = {_bare(value)};"

    def _store(self, node: Any) -> Iterator[str]:
        (index,) = node.indices
        before, (place, value) = self._written(index, node.value)
        yield from before
        yield f"{self._element(node.buffer, _bare(place))} = {_bare(value)};"

    def _loop(self, node: Any) -> Iterator[str]:
        before, (start, end) = self._written(node.min, self._simple(node.min + node.extent))
        yield from before
        name = self._name(node.loop_var)
        kind = c_type(str(node.loop_var.ty.dtype))
        step = "1" if node.step is None else self._expressions.write(node.step)
        forward = f"++{name}" if step == "1" else f"{name} += {step}"
        yield f"for ({kind} {name} = {_bare(start)}; {name} < {_bare(end)}; {forward}) {{"
        yield from self._block(node.body)
        yield "}"

    def _branch(self, node: Any) -> Iterator[str]:
        before, (condition,) = self._written(node.condition)
        yield from before
        yield f"if ({_bare(condition)}) {{"
        yield from self._block(node.then_case)
        if node.else_case is not None:
            yield "} else {"
            yield from self._block(node.else_case)
        yield "}"

    def _while(self, node: Any) -> Iterator[str]:
        yield "for (;;) {"
        before, (condition,) = self._written(node.condition)
        yield from (f"    {line}" for line in before)
        yield f"    if (!{condition}) {{ break; }}"
        yield from self._block(node.body)
        yield "}"

    def _evaluate(self, node: Any) -> Iterator[str]:
        if isinstance(node.value, tirx.IntImm):
            return
        before, (value,) = self._written(node.value)
        yield from before
        yield f"{value};"

    def _block(self, body: Any) -> Iterator[str]:
        for line in self._statements(body):
            yield f"    {line}"


# Words of C, of the headers, and parameters of the kernel contract that a name must not hide.
_RESERVED = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "bool",
        "main",
        "exp",
        "log",
        "pow",
        "sin",
        "cos",
        "tan",
        "sqrt",
        "floor",
        "ceil",
        "round",
        "trunc",
        "erf",
        "tanh",
        "y0",
        "y1",
        "yn",
        "j0",
        "j1",
        "jn",
        "gamma",
        "signgam",
        "index",
        "div",
        "abs",
    ]
)


def _key(variable: Any) -> int:
    return hash(variable)


def _operator(call: Any) -> str:
    return str(call.op.name).rpartition(".")[2]


def _data_owner(data: Any) -> Any | None:
    """The buffer of ``buffer.data``; None for other pointers."""
    if isinstance(data, tvm.ir.Call) and "data" in _operator(data):
        return data.args[0]
    return None


def _bare(text: str) -> str:
    """The text without the brackets around the whole of it."""
    if not text.startswith("(") or not text.endswith(")"):
        return text
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and position < len(text) - 1:
            return text
    # `(float)x` begins with a cast, which the loop above has told apart: it ends earlier.
    return text[1:-1]


def _variables_read(func: PrimFunc) -> set[int]:
    """Keys of the variables that a statement reads or writes, views followed to their roots."""
    found: set[int] = set()
    views: list[tuple[Any, Any]] = []

    def look(variable: Any) -> None:
        found.add(_key(variable))

    def look_at_store(store: Any) -> None:
        found.add(_key(store.buffer))

    def look_at_view(view: Any) -> None:
        views.append((view.buffer, view.data))

    structural.structural_walk(func.body, (tirx.DeclBuffer, look_at_view))
    for kind in (tirx.BufferStore, tirx.For, tirx.IfThenElse, tirx.Evaluate, tirx.Bind, tirx.While):
        structural.structural_walk(func.body, (kind, lambda n: _walk_parts(n, look, look_at_store)))
    for buffer, data in reversed(views):
        if _key(buffer) in found:
            structural.structural_walk(tirx.Evaluate(data), (tvm.ir.Var, look))
    return found


def _walk_parts(node: Any, look: Any, look_at_store: Any) -> None:
    """The expressions of one statement, without the statements inside it."""
    parts: list[Any] = []
    if isinstance(node, tirx.BufferStore):
        look_at_store(node)
        parts = [node.value, *node.indices]
    elif isinstance(node, tirx.For):
        parts = [node.min, node.extent]
    elif isinstance(node, tirx.IfThenElse | tirx.While):
        parts = [node.condition]
    elif isinstance(node, tirx.Evaluate | tirx.Bind):
        parts = [node.value]
    for part in parts:
        structural.structural_walk(part, (tvm.ir.Var, look))
