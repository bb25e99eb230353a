"""C text by which a small program calls the phases of kernels through one table."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.runners.runner import KernelSymbol


def phase_calls(symbols: Sequence[KernelSymbol]) -> list[str]:
    """Lines that define ``call_N`` for each symbol: of one type, whatever pointers it takes."""
    lines = ["#include <stdint.h>", "typedef void (*phase)(void **, int32_t, int32_t);"]
    for number, symbol in enumerate(symbols):
        arguments = "".join(f"p[{i}], " for i in range(symbol.pointer_count))
        lines += [
            f"extern void {symbol.name}({'void *, ' * symbol.pointer_count}int32_t, int32_t);",
            f"static void call_{number}(void **p, int32_t begin, int32_t end)",
            f"{{ (void)p; {symbol.name}({arguments}begin, end); }}",
        ]
    calls = ", ".join(f"call_{number}" for number in range(len(symbols)))
    return [*lines, f"const phase phases[] = {{{calls}}};"]
