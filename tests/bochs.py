"""Libraries for x86-64 processors with AVX-512 and VNNI where there is none: run in Bochs.

Bochs interprets every instruction of a PC. The PC has no system: `tests/c/bochs_boot.S` switches
vectors on, `tests/c/bochs_model.c`, linked with the artifact's static library, runs the model.

Bochs 2.7, as Debian 12 has it, is wrong in two places that code for these targets meets. It counts
short displacements of VPINSRB and VPEXTRW (EVEX) in a wrong unit: `repaired` puts the instruction
with a long one in their place. It refuses gathers whose indices lie beyond the 16th register: a
library that comes to one stops it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler.artifact.manifest import Artifact
from compiler.cpu_features import X86_CPUS
from compiler.errors import NotRunnableError
from compiler.library_arrays import TensorSpec, checked_inputs, tensor_specs
from compiler.target_spec import TargetSpec, required_cpu_features

PROCESSOR = "corei7_icelake_u"  # Bochs' name: AVX-512 F, BW, CD, DQ, VL, VNNI and more; no AMX
PROGRAM, FREE_MEMORY = 0x20_0000, 0x1000_0000  # addresses; between them what the disk holds
MACHINE = f"Bochs, {PROCESSOR}"
_MEMORY_MIB = 512
_LINE_BYTES, _SECTOR_BYTES = 64, 512
_CYLINDER_BYTES = 16 * 63 * _SECTOR_BYTES  # a disk has whole ones
_REPAIRS_BYTES = 0x4_0000  # at the end of the program
_MARK = b"<outputs>"
_TIMEOUT_S = 900
_SOURCES = Path(__file__).parent / "c"
_FLAGS = (
    *("-std=gnu11", "-O1", "-ffreestanding", "-fno-pie", "-fno-stack-protector"),
    *("-fcf-protection=none", "-nostdlib", "-static", "-no-pie"),
    # Sessions are linked, as the model's descriptor names them, but nothing calls them.
    *("-Wl,--build-id=none", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,noexecstack"),
)
# Those of a server that the notebook lacks are instructions of operating systems.
_FEATURES = X86_CPUS["icelake-server"]
_LAYOUT = """SECTIONS
{
    . = %#x;
    .text : { *(.start) *(.text*) }
    .all : { *(.rodata*) *(.got*) *(.data*) *(.bss*) *(COMMON) . = ALIGN(64); . += %#x; }
    . = ALIGN(64);
    end_of_program = .;
    /DISCARD/ : { *(.eh_frame*) *(.note*) *(.comment) }
}
"""
_PC = f"""cpu: model={PROCESSOR}, count=1, reset_on_triple_fault=0
memory: guest={_MEMORY_MIB}, host={_MEMORY_MIB}
romimage: file=boot.rom, address=0xffff0000
vgaromimage: file=vga.rom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=disk.img, mode=flat, cylinders=0
display_library: rfb, options="timeout=0"
sound: waveoutdrv=dummy
speaker: enabled=0
port_e9_hack: enabled=1
log: log.txt
panic: action=fatal
error: action=report
info: action=report
"""


def missing_for_bochs(spec: TargetSpec) -> str | None:
    """What is not installed, or which instructions of the target Bochs does not have."""
    for tool in ("bochs", "cc", "objcopy"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    beyond = set(required_cpu_features(spec)) - _FEATURES
    return f"Bochs 2.7 lacks {', '.join(sorted(beyond))}" if beyond else None


def run_in_bochs(
    artifact: Artifact, sets: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    """The outputs by name for each set of inputs; the artifact is for Linux on x86-64."""
    manifest = artifact.manifest
    inputs, outputs = tensor_specs(manifest.inputs), tensor_specs(manifest.outputs)
    with TemporaryDirectory() as name:
        folder = Path(name)
        _link(artifact, folder)
        _write_disk(folder, _packed(inputs, sets))
        (folder / "vga.rom").write_bytes(bytes(32_768))  # Bochs wants one
        (folder / "pc.txt").write_text(_PC, encoding="ascii")
        (folder / "commands.txt").write_text("c\n", encoding="ascii")  # for Bochs' debugger
        command = ("bochs", "-q", "-f", "pc.txt", "-rc", "commands.txt")
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        log = folder / "log.txt"
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if b"Shutdown port: shutdown requested" not in done.stdout + done.stderr:
        raise NotRunnableError(
            "Bochs stopped",
            why="; ".join(re.findall(r">>PANIC<< .*|RIP=\w+", said)) or f"exit {done.returncode}",
            fix="look for the instruction at that address in program.elf",
        )
    return _read(done.stdout.partition(_MARK)[2], outputs, len(sets))


def _link(artifact: Artifact, folder: Path) -> None:
    """Put the program into `folder` as it lies in memory."""
    (folder / "layout.ld").write_text(_LAYOUT % (PROGRAM, _REPAIRS_BYTES), encoding="ascii")
    defines = (
        f"-DMODEL={artifact.manifest.symbol_prefix}_model",
        f"-DFREE_MEMORY={FREE_MEMORY:#x}",
    )
    include, library = artifact.path / "include", artifact.static_library_path
    source = str(_SOURCES / "bochs_model.c")
    _run(
        *("cc", *_FLAGS, *defines, f"-I{include.resolve()}", "-Wl,-T,layout.ld"),
        *("-o", "program.elf", source, str(library.resolve())),
        folder=folder,
    )
    _run("objcopy", "-O", "binary", "program.elf", "program.bin", folder=folder)


def _write_disk(folder: Path, given: bytes) -> None:
    """Put a disk with program and inputs into `folder`, and the ROM that reads it."""
    content = _padded(repaired((folder / "program.bin").read_bytes(), _code(folder))) + given
    sectors = -(-len(content) // _SECTOR_BYTES)
    assert PROGRAM + sectors * _SECTOR_BYTES <= FREE_MEMORY
    (folder / "disk.img").write_bytes(_padded(content, _CYLINDER_BYTES))
    defines = (f"-DPROGRAM={PROGRAM:#x}", f"-DSECTORS={sectors}")
    source = str(_SOURCES / "bochs_boot.S")
    _run("cc", "-c", *defines, "-o", "boot.o", source, folder=folder)
    _run("objcopy", "-O", "binary", "-j", ".text", "boot.o", "boot.rom", folder=folder)


def _code(folder: Path) -> str:
    """The program's instructions as text, each on a line with address and bytes."""
    return _run("objdump", "-d", "-j", ".text", "--insn-width=16", "program.elf", folder=folder)


_UNITS = {"vpinsrb": 1, "vpextrw": 2}  # bytes that a short displacement counts
_MISREAD = re.compile(
    rf"^ *(\w+):\t((?:[0-9a-f]{{2}} )+) *\t({'|'.join(_UNITS)}) .*\(", re.MULTILINE
)


def repaired(program: bytes, code: str) -> bytes:
    """The program with jumps to equal instructions, at its end, that this Bochs reads rightly."""
    changed, end = bytearray(program), len(program) - _REPAIRS_BYTES
    for address, text, name in _MISREAD.findall(code):
        instruction, start = bytes.fromhex(text), int(address, 16) - PROGRAM
        if instruction[0] != 0x62 or instruction[5] >> 6 != 1:  # not EVEX, or not a short one
            continue
        length = len(instruction)
        other = _with_long_displacement(instruction, _UNITS[name])
        assert end + len(other) + 5 <= len(program), "no room for repairs"
        changed[start : start + length] = _jump(start, end).ljust(length, b"\xcc")
        back = _jump(end + len(other), start + length)
        changed[end : end + len(other) + 5] = other + back
        end += len(other) + 5
    return bytes(changed)


def _with_long_displacement(instruction: bytes, unit: int) -> bytes:
    """EVEX prefix, opcode, ModRM, perhaps SIB, 32 bits in place of 8, which part of the vector."""
    modrm = instruction[5]
    place = 7 if modrm & 7 == 4 else 6
    displacement = int.from_bytes(instruction[place : place + 1], "little", signed=True)
    head = instruction[:5] + bytes([modrm ^ 0xC0]) + instruction[6:place]
    return (
        head + (displacement * unit).to_bytes(4, "little", signed=True) + instruction[place + 1 :]
    )


def _jump(start: int, end: int) -> bytes:
    return b"\xe9" + (end - start - 5).to_bytes(4, "little", signed=True)


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _packed(specs: Sequence[TensorSpec], sets: Sequence[Mapping[str, np.ndarray]]) -> bytes:
    parts = [_padded(np.uint32(len(sets)).tobytes())]
    parts += [_padded(array.tobytes()) for given in sets for array in checked_inputs(specs, given)]
    return b"".join(parts)


def _padded(data: bytes, unit: int = _LINE_BYTES) -> bytes:
    return data + bytes(-len(data) % unit)


def _read(data: bytes, specs: Sequence[TensorSpec], sets: int) -> list[dict[str, np.ndarray]]:
    found = []
    at = 0
    for _ in range(sets):
        assert data[at] == 0, f"run returned {data[at]}"
        at += 1
        outputs = {}
        for spec in specs:
            array = np.empty(spec.shape, spec.array_dtype)
            outputs[spec.name] = np.frombuffer(
                data, spec.array_dtype, array.size, offset=at
            ).reshape(spec.shape)
            at += array.nbytes
        found.append(outputs)
    return found
