"""The one module that reads environment variables."""

from __future__ import annotations

import os
import shlex

# What a compiler needs to find its own parts and a place for temporary files. Everything else
# (CPATH, CFLAGS, LANG, SOURCE_DATE_EPOCH, ...) could change the bytes it writes.
_KEPT_FOR_TOOLS = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT")
_CACHES = ("XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")


def c_compiler_override() -> tuple[str, ...] | None:
    """Return the words of the user's ``CC``, or None if it is unset or empty."""
    words = tuple(shlex.split(os.environ.get("CC", "")))
    return words or None


def tool_environment() -> dict[str, str]:
    """Return the environment that compilers and linkers are started in."""
    kept = {name: os.environ[name] for name in (*_KEPT_FOR_TOOLS, *_CACHES) if name in os.environ}
    return {**kept, "LC_ALL": "C"}
