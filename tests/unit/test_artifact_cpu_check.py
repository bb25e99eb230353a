"""The table of CPU features and the C made of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from compiler.artifact.cpu_check import X86_BITS, cpu_check_source
from compiler.cpu_features import CPUINFO_FLAGS, X86_FEATURES
from compiler.errors import ToolchainError

_RUNTIME = Path(__file__).parents[2] / "compiler" / "artifact"


def _missing_of_each(features: list[str], folder: Path) -> dict[str, str]:
    """Compile one check for each feature and return what it says on this machine."""
    calls, sources = [], []
    for number, feature in enumerate(features):
        source = folder / f"check_{number}.c"
        text = cpu_check_source((feature,), architecture="x86_64")
        source.write_text(f"#define TUNESMITH_PREFIX c{number}\n{text}", encoding="ascii")
        sources.append(source)
        calls.append(f"  say(c{number}__missing_cpu_feature());")
    main = folder / "main.c"
    declared = "\n".join(
        f"const char *c{n}__missing_cpu_feature(void);" for n in range(len(features))
    )
    main.write_text(
        f"#include <stdio.h>\n{declared}\nstatic void say(const char *s)"
        '{ puts(s ? s : "-"); }\nint main(void) {\n' + "\n".join(calls) + "\n return 0; }\n",
        encoding="ascii",
    )
    runtime = _RUNTIME / "runtime"
    program = folder / "main"
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{_RUNTIME}", f"-I{runtime}")
    subprocess.run(("cc", *flags, main, *sources, "-o", program), check=True)
    done = subprocess.run((program,), capture_output=True, text=True, check=True)
    return dict(zip(features, done.stdout.split(), strict=True))


def test_every_feature_that_a_target_can_have_is_known() -> None:
    assert set(X86_BITS) >= X86_FEATURES


def test_check_agrees_with_linux_on_this_machine(tmp_path: Path) -> None:
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    features = sorted(CPUINFO_FLAGS)
    expected = {name: "-" if CPUINFO_FLAGS[name] in flags else name for name in features}
    assert _missing_of_each(features, tmp_path) == expected
    assert "-" in expected.values()  # SSE3 at least


def test_first_missing_feature_is_named(tmp_path: Path) -> None:
    lacking = next(name for name in ("amx-tile", "sse4a") if not _has(name))
    text = cpu_check_source(("sse3", lacking), architecture="x86_64")
    assert text.index('"sse3"') < text.index(f'"{lacking}"')
    assert _missing_of_each([lacking], tmp_path) == {lacking: lacking}


def _has(feature: str) -> bool:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return CPUINFO_FLAGS[feature] in flags


def test_order_of_the_features_changes_nothing() -> None:
    given = ("fma", "avx", "avx512f")
    reverse = cpu_check_source(given[::-1], architecture="x86_64")
    assert cpu_check_source(given, architecture="x86_64") == reverse


def test_feature_that_cannot_be_checked_is_refused() -> None:
    with pytest.raises(ToolchainError) as caught:
        cpu_check_source(("avx9000",), architecture="x86_64")
    assert str(caught.value) == (
        "no check at run time is known for the x86_64 feature `avx9000`\n"
        "  why: a library for such a CPU could crash on another one instead of refusing it\n"
        "  fix: drop the feature from the target's [llvm] features"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(0, "nothing"), (-1, "amx-tile (Linux gives this process no tile registers)")],
    ids=["given", "refused"],
)
def test_tile_registers_are_asked_for(answer: int, expected: str, tmp_path: Path) -> None:
    """On a processor that has all bits, and saves all registers, under a Linux of this answer."""
    source = cpu_check_source(("amx-tile", "amx-int8"), architecture="x86_64")
    xgetbv = next(line for line in source.splitlines() if "xgetbv */" in line)
    (tmp_path / "check.c").write_text(
        "#define TUNESMITH_PREFIX c\n" + source.replace(xgetbv, "eax = ~0u;"), encoding="ascii"
    )
    (tmp_path / "cpuid.h").write_text(
        "static int all(unsigned *a, unsigned *b, unsigned *c, unsigned *d)\n"
        "{ *a = *b = *c = *d = ~0u; return 1; }\n"
        "#define __get_cpuid(leaf, a, b, c, d) all(a, b, c, d)\n"
        "#define __get_cpuid_count(leaf, subleaf, a, b, c, d) all(a, b, c, d)\n",
        encoding="ascii",
    )
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\nconst char *c__missing_cpu_feature(void);\n"
        "long asked(long call, long what, long feature)\n"
        f"{{ return call == 158 && what == 0x1023 && feature == 18 ? {answer} : -1; }}\n"
        "int main(void) { const char *s = c__missing_cpu_feature();\n"
        'fputs(s ? s : "nothing", stdout); return 0; }\n',
        encoding="ascii",
    )
    program = tmp_path / "main"
    flags = ("-std=gnu99", "-w", "-Dsyscall(a,b,c)=asked(a,b,c)", "-D_UNISTD_H=1")
    includes = (f"-I{tmp_path}", f"-I{_RUNTIME}", f"-I{_RUNTIME / 'runtime'}")
    sources = (tmp_path / "main.c", tmp_path / "check.c")
    subprocess.run(("cc", *flags, *includes, *sources, "-o", program), check=True)
    done = subprocess.run((program,), capture_output=True, text=True, check=True)
    assert done.stdout == expected
