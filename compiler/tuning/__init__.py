"""Tuning records: measured choices, kept for each target and never used for another."""

from compiler.tuning.frame import records

__all__ = ["records"]
