"""The command line: verbs, exit codes, and errors as a user sees them.

Each verb is ``compiler.commands.VERB.command`` and is imported only when it is used: ``--help``
needs neither TVM nor NumPy.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from difflib import get_close_matches
from types import FrameType
from typing import NoReturn

import click

from compiler.commands.lazy_verbs import LazyVerbs
from compiler.commands.output import print_error
from compiler.errors import CompilerError
from compiler.version import VERSION

# In the order of a first session. The texts stand here so that ``--help`` imports no verb.
VERBS = {
    "targets": "List the machines that can be compiled for, or show one.",
    "inspect": "Show what is in an ONNX file and whether it can be compiled.",
    "compile": "Compile an ONNX file to a checked stand-alone library.",
    "run": "Run a compiled library.",
    "verify": "Compare a compiled library with onnxruntime.",
    "bench": "Time models beside onnxruntime and OpenVINO.",
    "profile": "Time each kernel of a compiled library against the machine's peak.",
    "tune": "Search faster schedules for a model's kernels and keep them.",
    "logs": "List, check, merge and exchange tuning records.",
    "farm": "Show the boards that a tracker has.",
    "quantize": "Make a float ONNX file compute in 8-bit integers.",
    "demo": "Compile and check a small trained model.",
}

# What a disk or a permission does to any verb that writes.
_FILE_ERRORS = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EFBIG: "choose a place that takes larger files",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter path",
}


class VerbGroup(LazyVerbs):
    """A group whose verbs are imported on use."""

    verbs = VERBS
    modules = "compiler.commands."
    title = "Verbs"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if verb not in VERBS and not verb.startswith("-"):
            nearest = get_close_matches(verb, VERBS, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"verbs: {', '.join(VERBS)}"
            ctx.fail(f"no such verb '{verb}'; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="tunesmith", message="%(prog)s %(version)s")
def tunesmith() -> None:
    """From an ONNX file to a checked stand-alone library.

    A first session: tunesmith demo; tunesmith inspect model.onnx;
    tunesmith compile model.onnx --target host -o out; tunesmith run out.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run `arguments` (default: the process's) and exit: 0 done, 1 refused, 2 wrong usage."""
    words = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _end)
    sys.exit(exit_code(words))


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End as an exception, so that what was half made is cleaned up."""
    sys.exit(128 + number)


def exit_code(words: list[str]) -> int:
    """Run the command line `words` and return its exit code.

    What is not expected (a bug) passes through as the exception it is.
    """
    as_json = "--json" in words
    try:
        result = tunesmith.main(args=words, prog_name="tunesmith", standalone_mode=False)
        sys.stdout.flush()
    except CompilerError as error:
        print_error(error, as_json=as_json)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # what click makes of Ctrl-C
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone (`tunesmith targets | head -1`). Python would complain
        # again when it flushes at exit: give it a stdout that still exists.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        print_error(_as_compiler_error(error), as_json=as_json)
        return 1
    return result if isinstance(result, int) else 0


def _as_compiler_error(error: OSError) -> CompilerError:
    reason = error.strerror or str(error)
    return CompilerError(
        f"{error.filename}: {reason}" if error.filename else reason,
        why="the file could not be read or written",
        fix=_FILE_ERRORS[error.errno or 0],
    )
