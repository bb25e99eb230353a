"""A program in Oclgrind: every access is checked against its buffer and against other threads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.opencl_run import OpenClProgram, run_opencl

_ROOT = Path(__file__).parents[1]


def run_in_oclgrind(
    made: OpenClProgram, inputs: Mapping[str, np.ndarray], folder: Path
) -> tuple[dict[str, np.ndarray], str]:
    """The outputs, and what Oclgrind complained of: races, accesses out of bounds; "" if nothing.

    It runs in a process of its own without TVM, whose LLVM is another than Oclgrind's.
    """
    given, taken, log = folder / "given.pickle", folder / "taken.npz", folder / "oclgrind.log"
    given.write_bytes(pickle.dumps((made, dict(inputs))))
    command = ["oclgrind", "--data-races", "--log", str(log)]
    child = [sys.executable, "-m", "tests.oclgrind", str(given), str(taken)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    subprocess.run([*command, *child], env=environment, cwd=_ROOT, check=True)
    with np.load(taken) as arrays:
        outputs = {name: arrays[name] for name in arrays.files}
    return outputs, log.read_text(encoding="utf-8", errors="replace").strip()


if __name__ == "__main__":
    program, arrays_by_name = pickle.loads(Path(sys.argv[1]).read_bytes())
    found = run_opencl(program, arrays_by_name)
    np.savez(sys.argv[2], allow_pickle=False, **found)
