"""Frozen dataclasses from and to JSON, with types checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def to_json(record: Any) -> str:
    """Return a dataclass or plain data as stable text: sorted keys, a newline at the end."""
    plain = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(kind: type[_Record], data: Any, where: str = "top level") -> _Record:
    """Return `data` as the dataclass `kind`.

    Raises:
        ValueError: a key is missing or unknown, or a value has the wrong type; says where.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} is not an object")
    hints = get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ValueError(f"{where} has an unknown key `{unknown[0]}`")
    required = [field.name for field in fields(kind) if field.default is MISSING]  # type: ignore[arg-type]  # callers pass dataclasses
    missing = sorted(set(required) - set(data))
    if missing:
        raise ValueError(f"{where} has no key `{missing[0]}`")
    return kind(**{key: _value(hints[key], value, f"`{key}`") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType or NoneType in arguments:
        if value is None and NoneType in arguments:
            return None
        hint = next(option for option in arguments if option is not NoneType)
        return _value(hint, value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where)
    if origin is tuple:
        items = _of_type(list, value, where)
        return tuple(_value(arguments[0], item, where) for item in items)
    if origin is Mapping:
        entries = _of_type(dict, value, where)
        return {key: _value(arguments[1], item, where) for key, item in entries.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _of_type(hint, value, where)


def _of_type(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} is not of type {kind.__name__}")
    return value
