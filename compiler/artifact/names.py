"""C identifiers and C strings made from names in ONNX files."""

from __future__ import annotations

import re
from collections.abc import Iterable

# C99 and C++20, both lower case.
_KEYWORDS_TEXT = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq errno stdin stdout stderr unix linux
"""
_KEYWORDS = frozenset(_KEYWORDS_TEXT.split())

# NAME.h, libNAME.so, or NAME_create and its like, exist already in libc or in tunesmith.h.
_TAKEN_TEXT = """
    aio assert c complex crypt ctype dl errno fcntl fenv float gcc inttypes iso646 limits link
    locale m malloc math memory mqueue mtx cnd tss poll pthread rt sched search semaphore sem setjmp
    signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib string strings tar
    termios tgmath thrd threads time timer tunesmith unistd util utime wchar wctype
"""
_TAKEN_PREFIXES = frozenset(_TAKEN_TEXT.split())


def c_identifier(name: str, *, fallback: str) -> str:
    """Return `name` as a C identifier without doubled underscores; `fallback` if nothing is left.

    Names with two underscores in a row are kept free for symbols inside a library.
    """
    cleaned = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_]", "_", name)).strip("_")
    if not cleaned:
        return fallback
    return f"{fallback}_{cleaned}" if cleaned[0].isdigit() else cleaned


def symbol_prefix(model_name: str) -> str:
    """Return what every symbol of the model starts with, and what its header is called."""
    prefix = c_identifier(model_name, fallback="model")
    return f"{prefix}_model" if prefix.lower() in _TAKEN_PREFIXES else prefix


def member_names(names: Iterable[str], *, fallback: str) -> tuple[str, ...]:
    """Return a struct member for each name, all different: ``x``, ``x_2``, ``x_3``."""
    used: set[str] = set()
    members = []
    for name in names:
        stem = c_identifier(name, fallback=fallback)
        stem = f"{stem}_" if stem in _KEYWORDS else stem
        member, number = stem, 1
        while member in used:
            number += 1
            member = f"{stem}_{number}"
        used.add(member)
        members.append(member)
    return tuple(members)


def c_string(text: str) -> str:
    """Return a C string literal of the UTF-8 bytes of `text`."""
    return '"' + "".join(_c_character(byte) for byte in text.encode("utf-8", "replace")) + '"'


def _c_character(byte: int) -> str:
    # A question mark could begin a trigraph, `*/` would end a comment.
    plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\?*'
    return chr(byte) if plain else f"\\{byte:03o}"
