"""The names of all target specs in `target_specs/`."""

X86 = ("icelake-server", "sapphire-rapids", "x86-64-v3", "x86-64-v4", "znver4")
ARM = (
    *("cortex-a53", "cortex-a72", "cortex-a76"),
    *("neoverse-n1", "neoverse-n2", "neoverse-v1"),
)
APPLE = ("apple-m1",)
RISCV = ("rv64gc", "rv64gcv")
MICROCONTROLLERS = (
    "cortex-m0plus",
    "cortex-m33",
    "cortex-m4f",
    "cortex-m55",
    "cortex-m7",
    "rv32imac",
)
GPU = ("cuda-sm75", "cuda-sm80", "cuda-sm89", "cuda-sm90")
SHIPPED = tuple(sorted((*X86, *ARM, *APPLE, *RISCV, *MICROCONTROLLERS, *GPU)))
