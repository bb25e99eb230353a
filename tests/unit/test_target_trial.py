"""``tunesmith targets check``: toolchain, runner and one operator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import compiler.target_spec
from compiler.cli import exit_code
from compiler.target_trial import try_target


def _spec_file(folder: Path, cc: str, runner: str) -> Path:
    shipped = Path(compiler.target_spec.__file__).parent.parent / "target_specs"
    shutil.copy(shipped / "cortex-a72.toml", folder / "cortex-a72.toml")
    path = folder / "hazel.toml"
    path.write_text(
        'schema_version = 1\nname = "hazel"\nsource = "made up"\ninherits = "cortex-a72"\n'
        f"[toolchain]\ncc = {cc}\n[runner]\n{runner}\n"
    )
    return path


def test_host_passes() -> None:
    trial = try_target("host")
    assert (trial.target, trial.runner, trial.status) == ("host", "native", "passed")
    assert trial.toolchain  # cc's own words


def test_missing_toolchain_fails_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _spec_file(tmp_path, '["hazel-cc"]', 'kind = "emulator"\ncommand = ["qemu-hazel"]')
    assert exit_code(["targets", "check", str(path), "--json"]) == 1
    (trial,) = json.loads(capsys.readouterr().out)
    assert (trial["toolchain"], trial["runner"], trial["status"]) == ("", "", "failed")
    assert trial["reason"].startswith("no C compiler: `hazel-cc` was not found: ")


def test_missing_emulator_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ziglang")
    cc = '["zig", "cc", "-target", "aarch64-linux-musl"]'
    path = _spec_file(tmp_path, cc, 'kind = "emulator"\ncommand = ["qemu-hazel"]')
    assert exit_code(["targets", "check", str(path)]) == 0
    table = capsys.readouterr().out
    assert "missing  not run: the emulator `qemu-hazel` was not found: target hazel is" in table
    assert "zig " in table


def test_check_is_a_word_of_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "--help"]) == 0
    assert "check  Look for toolchain and runner of targets" in capsys.readouterr().out
