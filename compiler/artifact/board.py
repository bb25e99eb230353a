"""What a firmware needs besides the model: linker script, startup code, build files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compiler.artifact.render import render
from compiler.bare_metal_flags import COMPILE_FLAGS
from compiler.errors import LimitError
from compiler.target_tables import MemoryRegion, TargetSpec

# Vector table, startup code and what a small program needs of libc and libm.
_FIRMWARE_BYTES = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The memory of a target, and how programs for it are compiled."""

    target_name: str
    processor: str
    cc: tuple[str, ...]
    regions: tuple[MemoryRegion, ...]
    stack_bytes: int
    hard_float: bool  # floats are passed in registers of an FPU
    helium: bool  # its vectors are those of Armv8.1-M

    @property
    def stack_region(self) -> str:
        """Where stack and variables are: the first RAM."""
        return next(region.name for region in self.regions if region.kind == "ram")

    @property
    def flashes(self) -> tuple[MemoryRegion, ...]:
        return tuple(region for region in self.regions if region.kind == "flash")

    def weights_region(self, code_bytes: int, weight_bytes: int) -> str:
        """Return the flash that holds the weights: beside the code if there is room, else the next.

        Raises:
            LimitError: no flash has room.
        """
        room = {region.name: region.size_bytes for region in self.flashes}
        first = self.flashes[0].name
        room[first] -= code_bytes + _FIRMWARE_BYTES
        for name, size in room.items():
            if weight_bytes <= size:
                return name
        sizes = ", ".join(f"{name} {max(0, size):,} bytes" for name, size in room.items())
        raise LimitError(
            f"the weights, {weight_bytes:,} bytes, fit no flash of {self.target_name}",
            why=f"beside {code_bytes:,} bytes of code and {_FIRMWARE_BYTES:,} of firmware there "
            f"is room for: {sizes}",
            fix="use a target with more flash, or a smaller model",
        )


def board_of(spec: TargetSpec) -> Board:
    """Return the board that a spec describes."""
    return Board(
        target_name=spec.name,
        processor=spec.llvm.cpu,
        cc=spec.toolchain.cc,
        regions=tuple(sorted(spec.memory, key=lambda region: (region.rank, region.name))),
        stack_bytes=spec.reserved_stack_bytes,
        hard_float=spec.llvm.float_abi == "hard",
        helium=spec.llvm.architecture.startswith("thumb") and spec.vector.width_bits > 32,
    )


def board_files(
    board: Board,
    prefix: str,
    code_bytes: int,
    weight_bytes: int,
    *,
    kernel_files: Literal["c", "o"] = "c",
) -> dict[str, str]:
    """Return the texts of all build files by their place in the artifact.

    Args:
        kernel_files: how names of kernels' files end: sources or objects.
    """
    link = render(
        "bare_link.ld.j2",
        target_name=board.target_name,
        regions=board.regions,
        stack=board.stack_region,
        stack_bytes=board.stack_bytes,
        code=board.flashes[0].name,
        weights=board.weights_region(code_bytes, weight_bytes),
    )
    toolchain = render(
        "toolchain.cmake.j2",
        target_name=board.target_name,
        processor=board.processor,
        compiler=board.cc[0],
        flags=" ".join(board.cc[1:]),
    )
    flags = " ".join(flag for flag in COMPILE_FLAGS if not flag.startswith("-frandom"))
    return {
        "board/link.ld": link,
        "board/startup.c": render("bare_startup.c.j2"),
        "board/toolchain.cmake": toolchain,
        "CMakeLists.txt": render(
            "CMakeLists_bare.txt.j2", prefix=prefix, flags=flags, kernel_files=kernel_files
        ),
    }
