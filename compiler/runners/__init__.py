"""Where a compiled model runs: in this process, or on an emulated machine. Needs NumPy only."""
