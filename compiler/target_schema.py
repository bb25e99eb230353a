"""TOML text -> `TargetSpec`: every key known, present, of the right type and unit."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from compiler.errors import TargetError
from compiler.target_tables import (
    SCHEMA_VERSION,
    CacheSpec,
    CoresSpec,
    GpuSpec,
    LimitsSpec,
    LlvmSpec,
    MemoryRegion,
    RunnerSpec,
    TargetSpec,
    ToolchainSpec,
    VectorSpec,
)

_Table = TypeVar("_Table")
_TABLES: dict[str, type[Any]] = {
    "llvm": LlvmSpec,
    "vector": VectorSpec,
    "cache": CacheSpec,
    "cores": CoresSpec,
    "gpu": GpuSpec,
    "limits": LimitsSpec,
    "toolchain": ToolchainSpec,
    "runner": RunnerSpec,
}
_TOP_LEVEL = ("schema_version", "name", "family", "source", "description")
_OPTIONAL_TOP_LEVEL = ("description", "inherits", "memory", "limits", "gpu")
_UNIT_SUFFIXES = frozenset(
    [
        "bytes",
        "b",
        "kb",
        "kib",
        "mb",
        "mib",
        "gb",
        "gib",
        "bits",
        "hz",
        "khz",
        "mhz",
        "ghz",
        "count",
        "ns",
        "us",
        "ms",
        "s",
    ]
)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a target file.

    Raises:
        TargetError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise TargetError(
            f"{path}: cannot be read",
            why=cause.strerror or str(cause),
            fix="check the path and its permissions",
        ) from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise TargetError(
            f"{path.name}: not a TOML file",
            why=str(cause),
            fix="correct that line; target_specs/README.md explains every key",
        ) from cause


def parse_spec(tables: Mapping[str, Any], file: str) -> TargetSpec:
    """Return the spec that `tables` describe; `file` names them in errors.

    Raises:
        TargetError: a key is unknown, missing, of the wrong type or has another unit.
    """
    known = (*_TOP_LEVEL, "inherits", *_TABLES, "memory")
    where = f"{file}: top level"
    _refuse_unknown(tables, known, file, "at the top level")
    required = (key for key in known if key not in _OPTIONAL_TOP_LEVEL)
    _refuse_missing(tables, required, file, "at the top level")
    hints = get_type_hints(TargetSpec)
    scalars = {
        key: _checked(tables[key], hints[key], key, where) for key in _TOP_LEVEL if key in tables
    }
    _refuse_other_schema(scalars["schema_version"], file)
    parsed = {
        name: parse_table(table, tables[name], file, name)
        for name, table in _TABLES.items()
        if name in tables
    }
    return TargetSpec(**scalars, **parsed, memory=_regions(tables.get("memory", {}), file))


def parse_table(table: type[_Table], values: Any, file: str, title: str, **given: str) -> _Table:
    """Return one table as its dataclass; `given` are fields that are no keys of the file."""
    where = f"[{title}]"
    if not isinstance(values, Mapping):
        raise wrong_type(f"{file}: `{title}`", "a table", values)
    hints = get_type_hints(table)
    known = [key for key in hints if key not in given]
    _refuse_unknown(values, known, file, f"in {where}")
    required = [
        field.name
        for field in fields(table)  # type: ignore[arg-type]  # only dataclasses are passed
        if field.default is MISSING and field.name not in given
    ]
    _refuse_missing(values, required, file, f"in {where}")
    checked = {
        key: _checked(value, hints[key], key, f"{file}: {where}") for key, value in values.items()
    }
    return table(**checked, **given)


def _regions(values: Any, file: str) -> tuple[MemoryRegion, ...]:
    if not isinstance(values, Mapping):
        raise wrong_type(f"{file}: `memory`", "tables [memory.NAME]", values)
    regions = (
        parse_table(MemoryRegion, region, file, f"memory.{name}", name=name)
        for name, region in values.items()
    )
    return tuple(sorted(regions, key=lambda region: (region.rank, region.name)))


def _refuse_other_schema(version: int, file: str) -> None:
    if version != SCHEMA_VERSION:
        raise TargetError(
            f"{file}: schema_version {version} is not known",
            why=f"this version of tunesmith reads schema_version {SCHEMA_VERSION}",
            fix=f"write the file for schema_version {SCHEMA_VERSION}, or use the tunesmith "
            "that it was written for",
        )


def _refuse_unknown(found: Iterable[str], known: Iterable[str], file: str, where: str) -> None:
    known = tuple(known)
    for key in found:
        if key in known:
            continue
        same_fact = _other_unit(key, known)
        if same_fact is not None:
            raise TargetError(
                f"{file}: unknown key `{key}` {where}: wrong unit",
                why="a key carries its unit, and no other unit is converted",
                fix=f"rename it to `{same_fact}` and give the number in that unit",
            )
        nearest = get_close_matches(key, known, n=1, cutoff=0.6)
        raise TargetError(
            f"{file}: unknown key `{key}` {where}",
            why="a misspelt key would be ignored and its fact lost",
            fix=f"rename it to `{nearest[0]}`" if nearest else f"keys are: {', '.join(known)}",
        )


def _other_unit(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that is `key` with another unit or with none."""
    stem = _without_unit(key)
    return next((name for name in known if name != key and _without_unit(name) == stem), None)


def _without_unit(key: str) -> str:
    stem, _, last = key.rpartition("_")
    return stem if stem and last in _UNIT_SUFFIXES else key


def _refuse_missing(found: Mapping[str, Any], keys: Iterable[str], file: str, where: str) -> None:
    for key in keys:
        if key not in found:
            what = f"[{key}]" if key in _TABLES and where.endswith("level") else f"`{key}`"
            raise TargetError(
                f"{file}: {what} is missing {where}",
                why="facts about a machine have no defaults",
                fix=f"add {what}; target_specs/README.md explains every key",
            )


def _checked(value: Any, hint: Any, key: str, where: str) -> Any:
    """Return `value` as the field's type; a TOML array becomes a tuple."""
    options = get_args(hint) if NoneType in get_args(hint) else (hint,)
    wanted = next(option for option in options if option is not NoneType)
    name = f"{where}: `{key}`"
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise wrong_type(name, "one of " + ", ".join(get_args(wanted)), value)
        return value
    if get_origin(wanted) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong_type(name, "a list of texts", value)
        return tuple(value)
    if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
        raise wrong_type(
            name, {bool: "true or false", int: "a whole number", str: "a text"}[wanted], value
        )
    return value


def wrong_type(name: str, wanted: str, value: Any) -> TargetError:
    """Return the error for the key `name` whose `value` is not what is `wanted`."""
    return TargetError(
        f"{name} must be {wanted}",
        why=f"it is {value!r}",
        fix=f"write {wanted}; target_specs/README.md shows an example of every key",
    )
