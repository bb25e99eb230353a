"""Measuring: models beside other engines, kernels beside the machine, schedules side by side."""
