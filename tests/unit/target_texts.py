"""A microcontroller and an x86 spec, made up, that tests change one fact of."""

from __future__ import annotations

import tomllib
from typing import Any

MCU = """
schema_version = 1
name = "hazel-m4"
family = "mcu"
source = "Hazel data sheet 1.2, tables 3 and 11"

[llvm]
triple = "thumbv7em-none-eabihf"
cpu = "cortex-m4"
features = ["+vfp4d16sp", "+dsp"]
float_abi = "hard"

[vector]
width_bits = 32
register_count = 32

[cache]
l1d_bytes = 0
l2_bytes = 0
l3_bytes = 0
line_bytes = 4

[cores]
count = 1

[memory.sram]
kind = "ram"
start_address = 0x2000_0000
size_bytes = 131_072
align_bytes = 16
rank = 1

[memory.ccm]
kind = "ram"
start_address = 0x1000_0000
size_bytes = 65_536
align_bytes = 16
rank = 0

[memory.rom]
kind = "flash"
start_address = 0x0
size_bytes = 1_048_576
align_bytes = 16
rank = 0

[limits]
stack_bytes = 8_192
ram_bytes = 98_304

[toolchain]
cc = ["arm-none-eabi-gcc"]

[runner]
kind = "emulator"
command = ["qemu-system-arm", "-machine", "mps2-an386"]
"""


def mcu_tables() -> dict[str, Any]:
    return tomllib.loads(MCU)


def x86_tables() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "birch",
        "family": "cpu",
        "source": "made up",
        "llvm": {"triple": "x86_64-unknown-linux-gnu", "cpu": "x86-64-v3", "features": []},
        "vector": {"width_bits": 256, "register_count": 16},
        "cache": {
            "l1d_bytes": 32_768,
            "l2_bytes": 262_144,
            "l3_bytes": 8_388_608,
            "line_bytes": 64,
        },
        "cores": {"count": 4},
        "toolchain": {"cc": ["cc"]},
        "runner": {"kind": "native"},
    }


def gpu_tables() -> dict[str, Any]:
    gpu = {
        "arch": "sm_80",
        "shared_memory_per_block_bytes": 49_152,
        "shared_memory_per_sm_bytes": 167_936,
        "registers_per_thread_count": 255,
        "registers_per_block_count": 65_536,
        "threads_per_block_count": 1_024,
        "threads_per_sm_count": 2_048,
        "warp_threads_count": 32,
        "sm_count": 108,
        "l2_bytes": 41_943_040,
    }
    return {**x86_tables(), "family": "gpu", "gpu": gpu}
