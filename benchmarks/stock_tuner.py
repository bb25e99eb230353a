"""Tune one kernel with stock MetaSchedule, as its users do, and keep the fastest as a library.

    python -m benchmarks.stock_tuner CASE.json LIBRARY.so --trials 64 --seed 0

Run by `benchmarks/tuning_cost.py` in a process of its own. CASE.json holds a case of that script.
Prints one JSON object: candidates that ran, and those that did not.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import tvm
from tvm import te, topi
from tvm.ir import IRModule
from tvm.s_tir import meta_schedule as ms

from compiler.target_spec import load_target
from compiler.tvm_target import tvm_target

# Workers import TVM before their first build; stock's 30 s are not enough on a busy machine.
BUILD_TIMEOUT_S = 120


def computation(case: dict[str, Any]) -> IRModule:
    """The operator as TVM's own legalization writes it, all operands given at run time."""
    if case["operator"] == "Conv":
        data = te.placeholder(case["data"], name="data")
        weights = te.placeholder(case["weights"], name="weights")
        result = topi.nn.conv2d(data, weights, case["strides"], case["pads"], 1)
    else:
        data = te.placeholder(case["data"], name="data")
        weights = te.placeholder(case["weights"], name="weights")
        result = topi.matmul(data, weights)
    func = te.create_prim_func([data, weights, result])
    return IRModule({"main": func.with_attr("global_symbol", "main")})


@click.command()
@click.argument("case_file", type=click.Path(path_type=Path, exists=True))
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--trials", type=int, required=True)
@click.option("--seed", type=int, required=True)
def main(case_file: Path, library: Path, trials: int, seed: int) -> None:
    """Tune for this machine, one thread, and write the best schedule's code to LIBRARY."""
    os.environ["TVM_NUM_THREADS"] = "1"
    logging.disable(logging.WARNING)
    cores = len(os.sched_getaffinity(0))
    target = tvm.target.Target({**tvm_target(load_target("host")).export(), "num-cores": 1})
    module = computation(json.loads(case_file.read_text()))
    with TemporaryDirectory() as folder:
        database = ms.tune_tir(
            module,
            target,
            folder,
            max_trials_global=trials,
            num_tuning_cores=cores,
            builder=ms.builder.LocalBuilder(max_workers=cores, timeout_sec=BUILD_TIMEOUT_S),
            seed=seed,
        )
        records = database.get_all_tuning_records()
        ran = [one for one in records if one.run_secs and max(map(float, one.run_secs)) < 1e9]
        best = ms.tir_integration.compile_tir(database, module, target)
        if best is None:
            raise click.ClickException(f"none of {len(records)} candidates ran")
        tvm.compile(best.mod, target=target).export_library(str(library))
    print(json.dumps({"ran": len(ran), "failed": len(records) - len(ran)}))


if __name__ == "__main__":
    main()
