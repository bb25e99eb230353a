"""Time to the first result, and memory held: a compiled library beside onnxruntime.

    python benchmarks/load_time.py model.onnx artifact/ [--rounds 5]

Every figure is taken in a fresh process, after its imports. Memory is the resident set: what a
process has after one run, less what an idle one has that did the same imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_COMMON = """
import json, sys, time
import numpy as np

def resident_bytes():
    fields = open("/proc/self/status").read().split("VmHWM:")[1].split()
    return int(fields[0]) * 1024

def zeros(tensors):
    return {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in tensors}
"""

# VmHWM is the peak, so nothing that was freed in between is missed.
_IDLE = """
import compiler.library
print(json.dumps({"peak_bytes": resident_bytes()}))
"""

_OURS = """
import compiler.library
start = time.perf_counter()
library = compiler.library.load(sys.argv[1])
loaded = time.perf_counter()
library.run(zeros(library.inputs))
done = time.perf_counter()
print(json.dumps({"load_s": loaded - start, "total_s": done - start,
                  "peak_bytes": resident_bytes()}))
"""

_THEIRS = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
start = time.perf_counter()
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print(json.dumps({"total_s": time.perf_counter() - start, "peak_bytes": resident_bytes()}))
"""


def measure(program: str, argument: str) -> dict[str, float]:
    """Run `program` in a fresh process and return its figures."""
    command = [sys.executable, "-c", _COMMON + program, argument]
    done = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def smallest(program: str, argument: str, rounds: int) -> dict[str, float]:
    """Return the smallest of each figure over some processes."""
    taken = [measure(program, argument) for _ in range(rounds)]
    return {key: min(figures[key] for figures in taken) for key in taken[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    artifact, model = str(options.artifact.resolve()), str(options.model.resolve())
    manifest = json.loads((options.artifact / "manifest.json").read_text(encoding="utf-8"))
    memory = manifest["memory"]
    idle = smallest(_IDLE, "", options.rounds)
    ours = smallest(_OURS, artifact, options.rounds)
    theirs = smallest(_THEIRS, model, options.rounds)
    held = ours["peak_bytes"] - idle["peak_bytes"]
    planned = memory["weight_bytes"] + memory["arena_bytes"]
    result = {
        "load_ms": ours["load_s"] * 1e3,
        "load_and_first_run_ms": ours["total_s"] * 1e3,
        "onnxruntime_session_ms": theirs["total_s"] * 1e3,
        "held_bytes": held,
        "weights_and_arena_bytes": planned,
        "held_beyond_those_bytes": held - planned,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
