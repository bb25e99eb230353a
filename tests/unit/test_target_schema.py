"""Every way in which a target file can be misspelt, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.errors import TargetError
from compiler.target_schema import parse_spec, read_toml
from compiler.target_tables import MemoryRegion
from tests.unit.target_texts import mcu_tables, x86_tables


def refusal(tables: dict[str, Any]) -> TargetError:
    with pytest.raises(TargetError) as caught:
        parse_spec(tables, "hazel-m4.toml")
    return caught.value


def test_every_key_is_read() -> None:
    spec = parse_spec(mcu_tables(), "hazel-m4.toml")
    assert (spec.name, spec.family, spec.description) == ("hazel-m4", "mcu", None)
    assert spec.llvm.features == ("+vfp4d16sp", "+dsp")
    assert (spec.llvm.architecture, spec.llvm.float_abi) == ("thumbv7em", "hard")
    assert spec.lanes(8) == 4
    assert spec.lanes(64) == 1
    assert [region.name for region in spec.memory] == ["ccm", "rom", "sram"]  # by rank, then name
    assert spec.memory[2] == MemoryRegion(
        name="sram",
        kind="ram",
        start_address=0x2000_0000,
        size_bytes=131_072,
        align_bytes=16,
        rank=1,
    )
    assert (spec.limits.ram_bytes, spec.limits.flash_bytes) == (98_304, None)
    assert spec.runner.command == ("qemu-system-arm", "-machine", "mps2-an386")
    assert not spec.is_hosted


def test_misspelt_key_names_the_nearest() -> None:
    tables = mcu_tables()
    tables["memory"]["sram"]["sise_bytes"] = tables["memory"]["sram"].pop("size_bytes")
    assert str(refusal(tables)) == (
        "hazel-m4.toml: unknown key `sise_bytes` in [memory.sram]\n"
        "  why: a misspelt key would be ignored and its fact lost\n"
        "  fix: rename it to `size_bytes`"
    )


def test_key_unlike_all_others_lists_the_known() -> None:
    tables = mcu_tables()
    tables["cores"]["turbo"] = 1
    assert str(refusal(tables)) == (
        "hazel-m4.toml: unknown key `turbo` in [cores]\n"
        "  why: a misspelt key would be ignored and its fact lost\n"
        "  fix: keys are: count"
    )


def test_misspelt_table_names_the_nearest() -> None:
    tables = mcu_tables()
    tables["vectors"] = tables.pop("vector")
    error = refusal(tables)
    assert error.what == "hazel-m4.toml: unknown key `vectors` at the top level"
    assert error.fix == "rename it to `vector`"


@pytest.mark.parametrize("key", ["size_kb", "size", "size_MiB".lower()])
def test_other_unit_is_named(key: str) -> None:
    tables = mcu_tables()
    tables["memory"]["sram"][key] = 128
    assert str(refusal(tables)) == (
        f"hazel-m4.toml: unknown key `{key}` in [memory.sram]: wrong unit\n"
        "  why: a key carries its unit, and no other unit is converted\n"
        "  fix: rename it to `size_bytes` and give the number in that unit"
    )


def test_missing_key_is_named() -> None:
    tables = mcu_tables()
    del tables["vector"]["width_bits"]
    assert str(refusal(tables)) == (
        "hazel-m4.toml: `width_bits` is missing in [vector]\n"
        "  why: facts about a machine have no defaults\n"
        "  fix: add `width_bits`; target_specs/README.md explains every key"
    )


@pytest.mark.parametrize("table", ["llvm", "vector", "cache", "cores", "toolchain", "runner"])
def test_missing_table_is_named(table: str) -> None:
    tables = mcu_tables()
    del tables[table]
    assert refusal(tables).what == f"hazel-m4.toml: [{table}] is missing at the top level"


@pytest.mark.parametrize("key", ["schema_version", "name", "family", "source"])
def test_missing_top_level_key_is_named(key: str) -> None:
    tables = x86_tables()
    del tables[key]
    assert refusal(tables).what == f"hazel-m4.toml: `{key}` is missing at the top level"


@pytest.mark.parametrize(
    ("table", "key", "value", "wanted"),
    [
        ("cores", "count", "four", "a whole number"),
        ("cores", "count", 4.0, "a whole number"),
        ("cores", "count", True, "a whole number"),
        ("llvm", "cpu", 7, "a text"),
        ("llvm", "features", "+dsp", "a list of texts"),
        ("toolchain", "cc", [1], "a list of texts"),
        ("runner", "kind", "qemu", "one of native, emulator, rpc, none"),
        ("llvm", "float_abi", "firm", "one of soft, softfp, hard"),
    ],
)
def test_wrong_type_is_named(table: str, key: str, value: object, wanted: str) -> None:
    tables = mcu_tables()
    tables[table][key] = value
    assert str(refusal(tables)) == (
        f"hazel-m4.toml: [{table}]: `{key}` must be {wanted}\n"
        f"  why: it is {value!r}\n"
        f"  fix: write {wanted}; target_specs/README.md shows an example of every key"
    )


def test_wrong_type_at_the_top_level() -> None:
    error = refusal({**x86_tables(), "family": "fpga"})
    assert error.what == "hazel-m4.toml: top level: `family` must be one of cpu, gpu, mcu"


def test_table_that_is_a_value() -> None:
    assert refusal({**x86_tables(), "cores": 4}).what == "hazel-m4.toml: `cores` must be a table"


def test_memory_that_is_a_value() -> None:
    error = refusal({**x86_tables(), "memory": 4})
    assert error.what == "hazel-m4.toml: `memory` must be tables [memory.NAME]"


def test_other_schema_version() -> None:
    assert str(refusal({**x86_tables(), "schema_version": 2})) == (
        "hazel-m4.toml: schema_version 2 is not known\n"
        "  why: this version of tunesmith reads schema_version 1\n"
        "  fix: write the file for schema_version 1, or use the tunesmith that it was written for"
    )


def test_file_that_is_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "birch.toml"
    path.write_text("schema_version = \n")
    with pytest.raises(TargetError) as caught:
        read_toml(path)
    assert caught.value.what == "birch.toml: not a TOML file"
    assert "line 1" in caught.value.why


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "birch.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match="not a TOML file"):
        read_toml(path)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "birch.toml"
    with pytest.raises(TargetError) as caught:
        read_toml(path)
    assert str(caught.value) == (
        f"{path}: cannot be read\n"
        "  why: No such file or directory\n"
        "  fix: check the path and its permissions"
    )
