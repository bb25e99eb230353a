"""What a stage of the graph decided for an operator, and what else it might have."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.tuning.record import Choice


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One decision, taken alike for all operators of a signature."""

    signature: str  # of `tuning.record.ChoiceRecord`
    operators: int  # of that signature in the graph
    values: tuple[str, ...]  # the ONNX values that they make
    options: tuple[Choice, ...]  # the default first
    taken: Choice
    passed_over: str = ""  # why the choice of a record was not taken; "" if it was, or none is

    @property
    def default(self) -> Choice:
        """What is taken without a record: by an estimate."""
        return self.options[0]
