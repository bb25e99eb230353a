"""The names of all target specs in `target_specs/`."""

X86 = ("icelake-server", "sapphire-rapids", "x86-64-v3", "x86-64-v4", "znver4")
ARM = ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1")
RISCV = ("rv64gc", "rv64gcv")
GPU = ("cuda-sm75", "cuda-sm80", "cuda-sm89", "cuda-sm90")
SHIPPED = tuple(sorted((*X86, *ARM, *RISCV, *GPU)))
