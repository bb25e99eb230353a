"""The displacement of an instruction that Bochs 2.7 reads in words."""

from __future__ import annotations

from compiler.target_spec import load_target
from tests.bochs import PROGRAM, missing_for_bochs, repaired

_ROOM = bytes(0x4_0000)  # for repairs


def test_short_displacement_becomes_a_long_one_behind_a_jump() -> None:
    """nop; vpinsrb $0xf,-0x11(%rdi,%rax,1),%xmm17,%xmm17; ret"""
    program = bytes.fromhex("90 62 e3 75 00 20 4c 07 ef 0f c3")
    text = (
        f"  {PROGRAM:x}:\t90                   \tnop\n"
        f"  {PROGRAM + 1:x}:\t62 e3 75 00 20 4c 07 ef 0f \tvpinsrb $0xf,-0x11(%rdi,%rax,1),%xmm17\n"
    )
    made = repaired(program + _ROOM, text)
    assert len(made) == len(program + _ROOM)
    # The jump is 5 bytes from 1 on, and goes to 11; the way back is from 23 + 5 to 10.
    assert made[:11] == bytes.fromhex("90 e9 05 00 00 00 cc cc cc cc c3")
    there = bytes.fromhex("62 e3 75 00 20 8c 07 ef ff ff ff 0f")
    assert made[11:28] == there + bytes.fromhex("e9 ee ff ff ff")
    assert not any(made[28:])


def test_shorter_encoding_stays() -> None:
    program = bytes.fromhex("c4 e3 51 20 6c 07 18 0f") + _ROOM
    text = f"  {PROGRAM:x}:\tc4 e3 51 20 6c 07 18 0f \tvpinsrb $0xf,0x18(%rdi,%rax,1),%xmm5\n"
    assert repaired(program, text) == program


def test_other_instruction_sets_are_named() -> None:
    missing = missing_for_bochs(load_target("sapphire-rapids"))
    assert missing is not None
