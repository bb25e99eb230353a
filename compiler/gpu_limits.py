"""Hold compiled device functions to what one block of a GPU may use."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.errors import LimitError
from compiler.program import CompiledKernel, DeviceUse, Launch
from compiler.target_tables import GpuSpec

_LARGEST_GRID_Y = 65_535  # CUDA C++ Programming Guide, also z; x may be 2**31 - 1


def check_device_limits(gpu: GpuSpec, kernels: Iterable[CompiledKernel]) -> None:
    """Refuse a launch that the GPU would refuse when the model runs.

    Raises:
        LimitError: it names the kernel, the amount and the limit.
    """
    for kernel in kernels:
        for launch, use in _launches(kernel):
            for what, amount, limit in _amounts(gpu, launch, use):
                if amount > limit:
                    raise LimitError(
                        f"kernel `{launch.symbol}` needs {amount:,} {what}",
                        why=f"{gpu.arch} has {limit:,}; schedule: {kernel.schedule.name}",
                        fix="report the model: a schedule keeps to the target's limits",
                    )


def spilling(kernels: Iterable[CompiledKernel]) -> tuple[tuple[str, int], ...]:
    """Return the device functions whose registers did not suffice, with the bytes spilled."""
    uses = (
        (launch.symbol, use.spill_bytes) for kernel in kernels for launch, use in _launches(kernel)
    )
    return tuple(sorted({(symbol, spilled) for symbol, spilled in uses if spilled}))


def _launches(kernel: CompiledKernel) -> Iterable[tuple[Launch, DeviceUse]]:
    """Each launch and what its function takes: nothing that is known, without ptxas."""
    unknown = [DeviceUse(registers=0, shared_bytes=0, spill_bytes=0)] * len(kernel.launches)
    return zip(kernel.launches, kernel.device_uses or unknown, strict=True)


def _amounts(gpu: GpuSpec, launch: Launch, use: DeviceUse) -> list[tuple[str, int, int]]:
    x, y, z = launch.block
    threads = x * y * z
    # Registers are given to whole warps.
    warps = -(-threads // gpu.warp_threads_count)
    return [
        ("threads in a block", threads, gpu.threads_per_block_count),
        ("registers in a thread", use.registers, gpu.registers_per_thread_count),
        (
            "registers in a block",
            use.registers * warps * gpu.warp_threads_count,
            gpu.registers_per_block_count,
        ),
        ("bytes of shared memory", use.shared_bytes, gpu.shared_memory_per_block_bytes),
        ("blocks in a grid's second dimension", launch.grid[1], _LARGEST_GRID_Y),
        ("blocks in a grid's third dimension", launch.grid[2], _LARGEST_GRID_Y),
    ]
