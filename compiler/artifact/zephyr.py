"""The Zephyr module of a microcontroller's artifact, and an application that runs the model."""

from __future__ import annotations

from typing import Literal

from compiler.artifact.board import Board
from compiler.artifact.entry import Linkable, interface_values
from compiler.artifact.render import render


def zephyr_files(board: Board, model: Linkable, kernel_files: Literal["c", "o"]) -> dict[str, str]:
    """Return the texts of all files by their place in the artifact.

    Args:
        kernel_files: how names of kernels' files end: sources or objects.
    """
    values = {
        **interface_values(model),
        "target_name": board.target_name,
        "processor": board.processor,
        "stack_bytes": board.stack_bytes,
        "hard_float": board.hard_float,
        "kernel_files": kernel_files,
        "needed_symbols": _needed_symbols(board) if kernel_files == "o" else (),
    }
    return {
        f"zephyr/{place}": render(template, **values)
        for place, template in (
            ("CMakeLists.txt", "zephyr_CMakeLists.txt.j2"),
            ("Kconfig", "zephyr_Kconfig.j2"),
            ("module.yml", "zephyr_module.yml.j2"),
            ("sample/CMakeLists.txt", "zephyr_sample_CMakeLists.txt.j2"),
            ("sample/main.c", "zephyr_main.c.j2"),
            ("sample/prj.conf", "zephyr_prj.conf.j2"),
        )
    }


def _needed_symbols(board: Board) -> tuple[str, ...]:
    """What Zephyr must be configured to for objects that were compiled elsewhere.

    Sources are compiled as Zephyr is configured, objects are as they are: they pass floats in
    registers of the FPU, and may use vectors.
    """
    return (
        *(("FP_HARDABI",) if board.hard_float else ()),
        *(("ARMV8_1_M_MVEF",) if board.helium else ()),
    )
