"""Schedule rules: functions ``(PrimFunc, TargetSpec) -> Schedule | None``, and the steps they share.

Imports nothing of `compiler` but `target_spec` and `errors`.
"""
