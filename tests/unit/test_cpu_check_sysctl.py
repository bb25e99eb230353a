"""The check of the processor on macOS, compiled here against a system that the test plays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from compiler.arm_cpu_features import AARCH64_FEATURES
from compiler.artifact.cpu_check import cpu_check_source
from compiler.artifact.cpu_check_sysctl import MACOS_AARCH64_NAMES
from compiler.errors import ToolchainError
from compiler.target_spec import load_target, required_cpu_features

_RUNTIME = Path(__file__).parents[2] / "compiler" / "artifact"
# The questions that are answered, and how, are the program's arguments: NAME=1.
_SYSTEM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
const char *c__missing_cpu_feature(void);
static char **answers;
int sysctlbyname(const char *name, void *old, size_t *size, void *new_value, size_t new_size)
{
    char **answer;
    for (answer = answers; *answer != NULL; answer++) {
        size_t length = strlen(name);
        if (strncmp(*answer, name, length) == 0 && (*answer)[length] == '=') {
            int value = atoi(*answer + length + 1);
            memcpy(old, &value, sizeof value);
            return *size == sizeof value && new_value == NULL && new_size == 0 ? 0 : -1;
        }
    }
    return -1;
}
int main(int argc, char **argv)
{
    const char *missing;
    (void)argc;
    answers = argv + 1;
    missing = c__missing_cpu_feature();
    puts(missing != NULL ? missing : "-");
    return 0;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The check of apple-m1."""
    features = required_cpu_features(load_target("apple-m1"))
    text = cpu_check_source(features, architecture="aarch64", macos=True)
    (tmp_path / "check.c").write_text(f"#define TUNESMITH_PREFIX c\n{text}", encoding="ascii")
    (tmp_path / "system.c").write_text(_SYSTEM, encoding="ascii")
    (tmp_path / "sys").mkdir()
    declared = "int sysctlbyname(const char *, void *, size_t *, void *, size_t);\n"
    (tmp_path / "sys" / "sysctl.h").write_text(f"#include <stddef.h>\n{declared}")
    flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"-I{_RUNTIME}")
    sources = (tmp_path / "check.c", tmp_path / "system.c")
    subprocess.run(("cc", *flags, *sources, "-o", tmp_path / "check"), check=True)
    return tmp_path / "check"


def _says(program: Path, answers: dict[str, int]) -> str:
    words = (f"hw.optional.arm.{name}={value}" for name, value in answers.items())
    done = subprocess.run((program, *words), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_missing_feature_is_named(program: Path) -> None:
    m1 = {
        name: 1 for name in MACOS_AARCH64_NAMES.values() if name not in ("FEAT_BF16", "FEAT_I8MM")
    }
    assert _says(program, m1) == "-"
    assert _says(program, m1 | {"FEAT_DotProd": 0}) == "dotprod"
    without = {name: value for name, value in m1.items() if name != "FEAT_SHA3"}
    assert _says(program, without) == "sha3"  # a system that does not know the question


def test_every_feature_of_macs_can_be_asked() -> None:
    assert set(MACOS_AARCH64_NAMES) == AARCH64_FEATURES - {"sve", "sve2"}
    with pytest.raises(ToolchainError, match="the aarch64 feature `sve`"):
        cpu_check_source(("sve",), architecture="aarch64", macos=True)
