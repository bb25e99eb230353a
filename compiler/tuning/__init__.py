"""Tuning records: measured choices, kept for each target and never used for another."""

from compiler.tuning.frame import choices, records

__all__ = ["choices", "records"]
