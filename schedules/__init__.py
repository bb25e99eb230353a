"""Schedule rules, functions ``(PrimFunc, TargetSpec) -> Schedule | None``, and their steps.

Imports nothing of `compiler` but `target_spec` and `errors`.
"""
