"""Errors that a user can act on: each says what happened, why it matters and how to fix it."""

from __future__ import annotations

from functools import partial
from typing import Any


class CompilerError(Exception):
    """Base of every error raised on purpose.

    Args:
        what: what happened, with the name the user knows it by.
        why: why it is a problem, with the numbers.
        fix: what the user can do next.
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, so that a process can hand it to another one."""
        return partial(type(self), why=self.why, fix=self.fix), (self.what,)


class ModelError(CompilerError):
    """The ONNX file cannot be read, is not valid, or its shapes are not settled."""


class UnsupportedError(CompilerError):
    """The model uses an operator, type or shape that cannot be compiled."""


class LoweringError(UnsupportedError):
    """A kernel cannot be lowered with the schedule that it has; another schedule may do."""


class TargetError(CompilerError):
    """A target name or target specification is wrong."""


class ToolchainError(CompilerError):
    """A C compiler, linker or emulator is missing or failed."""


class NotRunnableError(ToolchainError):
    """What would run an artifact, an emulator for example, is not there or does not work."""


class OtherProcessorError(NotRunnableError):
    """The emulator's processor lacks a feature that an artifact needs."""


class ArtifactError(CompilerError):
    """An artifact is damaged, incomplete, of another version or for another machine."""


class InputError(CompilerError):
    """An array given by the user has the wrong name, dtype or shape."""


class VerificationError(CompilerError):
    """The compiled library does not agree with onnxruntime, or nothing was exercised."""


class LimitError(CompilerError):
    """The compiled model needs more than the target or the user allows."""


class OtherMachineError(ArtifactError):
    """An artifact is whole, but made for a machine that this one is not."""
