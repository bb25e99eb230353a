"""Decisions of stages: by a record where one is possible, else by default; all are written down.

They stand in an attribute of the module, so a stage remains a function of modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from tvm.ir import IRModule

from compiler.onnx_import.to_relax import onnx_names
from compiler.tuning.decision import Decision
from compiler.tuning.record import Choice

# Module attribute: the decisions of all stages before, as JSON.
DECISIONS = "tunesmith.decisions"

NO_CHOICES: Mapping[str, Choice] = {}


class Decider:
    """Takes the choices of one stage."""

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        """`choices`, by signature, are those of records; others' signatures are passed over."""
        self._choices = choices
        self._made: dict[str, Decision] = {}

    def decide(
        self,
        signature: str,
        options: Sequence[Choice],
        *,
        variables: Sequence[str],
        refused: Callable[[Choice], str],
    ) -> Choice:
        """Return the choice for a signature.

        Args:
            options: what a search may try, the default first.
            variables: names of those that the operators of the signature are bound to.
            refused: why a choice is not possible here, "" if it is; also of one that is no option.
        """
        chosen, problem = self._choices.get(signature), ""
        if chosen is not None and chosen not in options:
            problem = refused(chosen)
        taken = options[0] if chosen is None or problem else chosen
        self._made[signature] = Decision(
            signature=signature,
            operators=len(variables),
            values=tuple(variables),
            options=tuple(options),
            taken=taken,
            passed_over=problem,
        )
        return taken

    def noted(self, mod: IRModule) -> IRModule:
        """Return the module with these decisions after those of earlier stages."""
        if not self._made:
            return mod
        names = onnx_names(mod)
        made = [*decisions(mod), *(_with_onnx_names(one, names) for one in self._made.values())]
        return mod.with_attr(DECISIONS, json.dumps([asdict(one) for one in made]))


def _with_onnx_names(decision: Decision, names: Mapping[str, str]) -> Decision:
    """The decision, with the ONNX values that its variables hold instead of the variables."""
    values = tuple(names[variable] for variable in decision.values if variable in names)
    return replace(decision, values=values)


def decisions(mod: IRModule) -> tuple[Decision, ...]:
    """Return the decisions of the stages that the module has passed, in their order."""
    text = mod.attrs.get(DECISIONS) if mod.attrs is not None else None
    read = json.loads(str(text)) if text is not None else []
    return tuple(
        Decision(**{**one, "options": tuple(one["options"]), "values": tuple(one["values"])})
        for one in read
    )
