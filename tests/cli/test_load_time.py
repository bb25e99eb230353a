"""The script that measures loading: its figures are there and make sense."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.checked_artifacts import make_case

_SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "load_time.py"


def test_times_and_memory(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    paths = (str(_SCRIPT), str(case.path), str(case.artifact.path))
    command = [sys.executable, *paths, "--rounds", "1"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    figures = json.loads(done.stdout)
    assert 0 < figures["load_ms"] < figures["load_and_first_run_ms"]
    assert figures["onnxruntime_session_ms"] > 0
    memory = case.artifact.manifest.memory
    assert figures["weights_and_arena_bytes"] == memory.weight_bytes + memory.arena_bytes
    assert figures["held_beyond_those_bytes"] < 10_000_000
