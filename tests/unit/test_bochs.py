"""The displacement of an instruction that Bochs 2.7 reads in words."""

from __future__ import annotations

import pytest

from compiler.errors import NotRunnableError
from compiler.target_spec import load_target
from tests.bochs import PROGRAM, missing_for_bochs, repaired

# vpinsrb $0xf,DISPLACEMENT(%rdi,%rax,1),%xmm17,%xmm17 behind a nop
BEFORE = bytes.fromhex("90 62 e3 75 00 20 4c 07")
TEXT = (
    f"  {PROGRAM:x}:\t90                   \tnop\n"
    f"  {PROGRAM + 1:x}:\t62 e3 75 00 20 4c 07 %02x 0f \tvpinsrb $0xf,(%%rdi,%%rax,1),%%xmm17\n"
)


@pytest.mark.parametrize(("displacement", "read_as"), [(0x78, 0x3C), (0xF0, 0xF8)])
def test_displacements_are_halved(displacement: int, read_as: int) -> None:
    program = BEFORE + bytes([displacement, 0x0F])
    assert repaired(program, TEXT % displacement) == BEFORE + bytes([read_as, 0x0F])


def test_odd_displacement_is_refused() -> None:
    program = BEFORE + bytes([0x11, 0x0F])
    with pytest.raises(NotRunnableError) as error:
        repaired(program, TEXT % 0x11)
    assert "odd displacement" in error.value.why


def test_shorter_encoding_stays() -> None:
    program = bytes.fromhex("c4 e3 51 20 6c 07 18 0f")
    text = f"  {PROGRAM:x}:\tc4 e3 51 20 6c 07 18 0f \tvpinsrb $0xf,0x18(%rdi,%rax,1),%xmm5\n"
    assert repaired(program, text) == program


def test_other_instruction_sets_are_named() -> None:
    missing = missing_for_bochs(load_target("sapphire-rapids"))
    assert missing is not None
