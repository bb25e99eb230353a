"""What a stage is, and the runner that logs, dumps and names the stage that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.ir import IRModule

from compiler.errors import CompilerError, UnsupportedError


@dataclass(frozen=True)
class Stage:
    """One named step. The module passed in is left as it was."""

    name: str
    run: Callable[[IRModule], IRModule]
    decides: bool = False  # takes choices of records, which no stage before the first such does


def run_stages(
    mod: IRModule,
    stages: Sequence[Stage],
    *,
    target: tvm.target.Target,
    report: Callable[[str], None],
    dump_folder: Path | None = None,
) -> IRModule:
    """Run the stages in order and return the last module.

    Args:
        report: called with each stage's name before it runs.
        dump_folder: each stage's result goes there as ``NN-name.py``.

    Raises:
        UnsupportedError: a stage failed; the stage and TVM's own message are in the text.
    """
    for number, stage in enumerate(stages):
        report(stage.name)
        try:
            with target, tvm.transform.PassContext(opt_level=3):
                mod = stage.run(mod)
        except CompilerError:
            raise
        except Exception as cause:
            raise _stage_error(stage, cause) from cause
        if dump_folder is not None:
            dump_folder.mkdir(parents=True, exist_ok=True)
            path = dump_folder / f"{number:02d}-{stage.name}.py"
            path.write_text(mod.script(show_meta=False))
    return mod


def _stage_error(stage: Stage, cause: Exception) -> UnsupportedError:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return UnsupportedError(
        f"stage `{stage.name}` cannot lower this model",
        why=lines[-1] if lines else type(cause).__name__,
        fix="see which operator it is with `tunesmith inspect`, and report the model: "
        "an operator that inspect calls supported should compile",
    )
