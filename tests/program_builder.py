"""Programs written call by call, without kernels: for tests of what only reads a `Program`."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.program import Copy, KernelCall, KernelMemory, Port, Program, Value, ValueKind


@dataclass
class Builder:
    """A program of float32 vectors, written call by call."""

    def __post_init__(self) -> None:
        self.values: list[Value] = []
        self.calls: list[KernelCall] = []
        self.copies: list[Copy] = []
        self.memory: dict[str, KernelMemory] = {}

    def value(
        self, kind: ValueKind, count: int, storage: int | None = None, offset_bytes: int = 0
    ) -> int:
        number = len(self.values)
        owner = number if storage is None else storage
        self.values.append(
            Value(
                id=number,
                kind=kind,
                dtype="float32",
                shape=(count,),
                storage=owner,
                onnx_name=f"t{number}",
                offset_bytes=offset_bytes,
            )
        )
        return number

    def call(
        self,
        inputs: list[int],
        outputs: list[int],
        memory: KernelMemory,
        *,
        joins: bool = False,
    ) -> None:
        name = f"kernel{len(self.calls)}"
        self.memory[name] = memory
        self.calls.append(
            KernelCall(
                kernel=name,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                operator="Op",
                onnx_nodes=(),
                joins=joins,
            )
        )

    def program(self) -> Program:
        ports = [
            Port(name=f"t{v.id}", value=v.id) for v in self.values if v.kind is ValueKind.INPUT
        ]
        outputs = [
            Port(name=f"t{v.id}", value=v.id) for v in self.values if v.kind is ValueKind.OUTPUT
        ]
        return Program(
            values=tuple(self.values),
            constants={},
            calls=tuple(self.calls),
            copies=tuple(self.copies),
            inputs=tuple(ports),
            outputs=tuple(outputs),
        )
