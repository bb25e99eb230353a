"""Scheduled PrimFuncs to object code with raw-pointer C functions, one per phase."""
