"""``tunesmith targets``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.cli import exit_code
from compiler.target_spec import available_targets, load_target, missing_cpu_features
from tests.unit.target_texts import MCU


def test_table_has_a_row_for_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["target", "family", "vector", "L1d"]
    assert set(rule) == {"-", " "}
    assert [row.split()[0] for row in rows] == list(available_targets())
    (v3,) = [row for row in rows if row.startswith("x86-64-v3 ")]
    assert "256 bit x 16 32 KiB 256 KiB" in " ".join(v3.split())


def test_json_has_every_fact_and_whether_it_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "--json"]) == 0
    specs = {spec["name"]: spec for spec in json.loads(capsys.readouterr().out)}
    assert specs["host"]["runs_here"] is True
    znver4 = specs["znver4"]
    assert znver4["cache"]["l3_bytes"] == 33_554_432
    assert znver4["runs_here"] is (not missing_cpu_features(load_target("znver4")))
    assert "memory" not in znver4


def test_show_prints_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "show", "sapphire-rapids"]) == 0
    out = capsys.readouterr().out
    assert "cpu       sapphirerapids" in out
    assert "l2_bytes    2,097,152" in out
    (needs,) = [line for line in out.splitlines() if line.startswith("needs ")]
    assert needs.split()[1:4] == ["amx-bf16", "amx-int8", "amx-tile"]
    (runs,) = [line for line in out.splitlines() if line.startswith("runs here ")]
    missing = missing_cpu_features(load_target("sapphire-rapids"))
    assert runs.split("  ")[1].strip() == ("no, lacks " + " ".join(missing) if missing else "yes")


def test_show_of_a_file_with_memory(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "hazel-m4.toml"
    path.write_text(MCU)
    assert exit_code(["targets", "show", str(path)]) == 0
    out = capsys.readouterr().out
    assert "[memory.sram]\n  name           sram\n  kind           ram\n" in out
    assert "\n  start_address  0x20000000\n  size_bytes     131,072\n" in out
    assert "[limits]\n  ram_bytes    98,304\n  stack_bytes  8,192\n" in out
    assert out.endswith("runs here  no\n")


def test_show_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "hazel-m4.toml"
    path.write_text(MCU)
    assert exit_code(["targets", "show", str(path), "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)
    assert spec["runs_here"] is False
    assert spec["memory"][0]["name"] == "ccm"
    assert spec["limits"] == {"ram_bytes": 98_304, "stack_bytes": 8_192}


def test_json_of_the_list_is_json_of_show_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "--json", "show", "znver4"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "znver4"


def test_broken_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "hazel-m4.toml"
    path.write_text(MCU.replace("size_bytes", "sise_bytes"))
    assert exit_code(["targets", "show", str(path)]) == 1
    assert capsys.readouterr().err == (
        "error: hazel-m4.toml: unknown key `sise_bytes` in [memory.sram]\n"
        "  why: a misspelt key would be ignored and its fact lost\n"
        "  fix: rename it to `size_bytes`\n"
    )


def test_name_without_show_says_how_to_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["targets", "znver4"]) == 2
    assert "write `tunesmith targets show znver4`" in capsys.readouterr().err
