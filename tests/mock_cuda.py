"""A process in which libcuda.so.1 is the mock of tests/c/mock_libcuda.c, and what it recorded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from compiler.artifact.manifest import Artifact

_SOURCE = Path(__file__).parent / "c" / "mock_libcuda.c"
_ROOT = Path(__file__).parents[1]
# A function of CUDA source and its parameters.
_SIGNATURE = re.compile(
    r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^)]*)\)'
)


def build_mock(folder: Path) -> Path:
    """The folder that holds the mock driver."""
    folder.mkdir(exist_ok=True)
    library = folder / "libcuda.so.1"
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(_SOURCE)], check=True)
    return folder


def run_with_mock(
    script: str, artifact: Artifact, mock: Path, log: Path, **facts: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in which `path` is the artifact's folder; `facts` are MOCK_CUDA_<NAME>."""
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(mock),
        "PYTHONPATH": str(_ROOT),
        "MOCK_CUDA_LOG": str(log),
        **{f"MOCK_CUDA_{name.upper()}": value for name, value in facts.items()},
    }
    text = f"path = {str(artifact.path)!r}\n{script}"
    return subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=False
    )


def expected_launches(artifact: Artifact) -> list[str]:
    """The launches of one run by the report, with as many arguments as the CUDA source says."""
    (source,) = (artifact.path / "src").glob("*_kernels.cu")
    counts = {
        name: len(parameters.split(","))
        for name, parameters in _SIGNATURE.findall(source.read_text(encoding="utf-8"))
    }
    report = json.loads(artifact.report_path.read_text(encoding="utf-8"))
    launches = [launch for kernel in report["kernels"] for launch in kernel["launches"]]
    return [_line(launch, counts[launch["symbol"]]) for launch in launches]


def _line(launch: dict[str, Any], arguments: int) -> str:
    grid = ",".join(map(str, launch["grid"]))
    block = ",".join(map(str, launch["block"]))
    inside = f"{arguments} of {arguments} arguments in device memory"
    return f"cuLaunchKernel {launch['symbol']} {grid} {block} {inside}"
