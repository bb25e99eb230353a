"""The names of all target specs in `target_specs/`."""

X86 = ("icelake-server", "sapphire-rapids", "x86-64-v3", "x86-64-v4", "znver4")
ARM = ("cortex-a72",)
SHIPPED = tuple(sorted((*X86, *ARM)))
