"""Candidates on this machine: measured when right, caught when they are not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import compiler
from compiler.program import CompiledKernel
from compiler.tuner.native_runner import NativeRunner
from tests.planted_kernels import planted, planted_data

DATA = planted_data()


@pytest.fixture(scope="module")
def runner() -> Iterator[NativeRunner]:
    with NativeRunner(1, cpus=[max(os.sched_getaffinity(0))], timeout_s=10) as opened:
        yield opened


def works(runner: NativeRunner) -> bool:
    return runner.measure(planted(), DATA).outcome == "passed"


def test_a_right_kernel_is_measured(runner: NativeRunner) -> None:
    measured = runner.measure(planted(), DATA)
    assert (measured.outcome, measured.reason) == ("passed", "")
    assert len(measured.values) >= 3
    assert 0.01 < median(measured.values) < 50  # 1000 multiplications, in microseconds


def test_times_are_of_one_call(runner: NativeRunner) -> None:
    nap = "struct timespec t = {0, 300000}; nanosleep(&t, 0);"  # 0.3 ms for each of ten items
    kernel = planted(nap, before="#include <time.h>")
    measured = runner.measure(kernel, DATA)
    assert len(measured.values) >= 3
    assert 3_000 <= min(measured.values) < 9_000


def test_constants_are_as_far_away_as_in_a_run_of_the_model() -> None:
    """A kernel that counts its calls tells whether other memory is read before each of them."""
    kernel = planted("static int runs = 0; if (item == 9 && ++runs > 300) abort();")
    far = replace(DATA, key="far", constants=(0,), other_constant_bytes=4 << 20)
    near = replace(DATA, key="near", constants=(0,), other_constant_bytes=1 << 10)
    with NativeRunner(1) as runner:
        measured = runner.measure(kernel, far)  # one call for each repeat
        assert (measured.outcome, measured.reason) == ("passed", "")
        assert len(measured.values) >= 3
        turns = runner.measure_in_turns([kernel, planted()], far, 3)
        assert [one.outcome for one in turns] == ["passed", "passed"]
        # The model's constants stay in the caches: calls for 2 ms follow one another.
        assert runner.measure(kernel, near).outcome == "crashed"


def test_what_it_says_of_itself(runner: NativeRunner) -> None:
    assert (runner.name, runner.unit, runner.slots) == ("native", "us", 1)
    assert "; 1 thread on processors " in runner.conditions
    assert "repeats of at least 2 ms" in runner.conditions


WRONG = {
    "numbers": ("out[item * 100] += 1;", "output 0: 10 of 1,000 elements are wrong; element 0 is "),
    "not a number": ("out[item] = NAN;", "output 0: .*; element 0 is nan, not "),
    "order": (
        "static int last = -1; if (item < last) out[0] += 1; last = item;",
        "output 0: 1 of 1,000 elements are wrong; element 0 is ",
    ),
    "beyond the output": ("if (item == 9) out[1000] = 1;", "it wrote beside output 0"),
    "before the output": ("out[-1] = 1;", "it wrote beside output 0"),
    "input": ("((float *)in)[item] = 0;", "it wrote to its inputs, or beside them"),
    "beside the input": ("((float *)in)[1000] = 0;", "it wrote to its inputs, or beside them"),
    "a later run": (
        "static int runs = 0; if (item == 9 && runs++ > 3) out[0] += 1;",
        "a later run gave other numbers than the first one",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_kernel_is_caught(runner: NativeRunner, what: str) -> None:
    work, reason = WRONG[what]
    measured = runner.measure(planted(work), DATA)
    assert measured.outcome == "wrong-numbers"
    assert measured.values == ()
    assert re.match(reason, measured.reason), measured.reason
    assert works(runner)


def test_scratch_has_its_place_and_borders(runner: NativeRunner) -> None:
    work = "s0[item] = in[item]; s1[item] = s0[item]; own[3] = s1[item]; out[item * 100] += {};"
    sizes = {"scratch_bytes": (40, 40), "worker_scratch_bytes": 16}
    right = planted(work.format("(own[3] - in[item])"), **sizes)  # type: ignore[arg-type]
    assert runner.measure(right, DATA).outcome == "passed"
    for place, block in (("s0[10]", 0), ("s1[10]", 1), ("own[4]", 2)):
        over = planted(f"{place} = 0;", **sizes)  # type: ignore[arg-type]
        assert runner.measure(over, DATA).reason == f"it wrote beside scratch block {block}"


def test_scratch_that_was_not_written_has_no_numbers(runner: NativeRunner) -> None:
    kernel = planted("out[item] += 0 * s0[item];", scratch_bytes=(40,))
    assert "is nan" in runner.measure(kernel, DATA).reason


CRASHES = {
    "null store": ("*(volatile float *)0 = 1;", "SIGSEGV"),
    "far beyond": ("out[100000000] = 1;", "SIGSEGV"),
    "abort": ("abort();", "SIGABRT"),
    "illegal": ('__asm__ volatile("ud2");', "SIGILL"),
}


@pytest.mark.parametrize("what", CRASHES)
def test_a_crash_is_caught(runner: NativeRunner, what: str) -> None:
    work, signal = CRASHES[what]
    measured = runner.measure(planted(work), DATA)
    assert measured.outcome == "crashed"
    assert measured.reason.startswith(f"ended by {signal}")
    assert works(runner)


def test_a_missing_function_is_caught(runner: NativeRunner) -> None:
    kernel = planted("out[item] = nowhere(item);", before="float nowhere(int);")
    measured = runner.measure(kernel, DATA)
    assert measured.outcome == "crashed"
    assert measured.reason.startswith("cannot be loaded: ")
    assert "nowhere" in measured.reason
    assert works(runner)


def test_what_is_no_object_is_caught(runner: NativeRunner) -> None:
    measured = runner.measure(replace(planted(), object_code=b"no object"), DATA)
    assert measured.outcome == "crashed"
    assert measured.reason.startswith("cannot be linked: ")
    assert works(runner)


def test_an_endless_loop_is_ended() -> None:
    with NativeRunner(1, timeout_s=2) as runner:
        assert works(runner)
        start = time.monotonic()
        measured = runner.measure(planted('for (;;) { __asm__ volatile(""); }'), DATA)
        assert time.monotonic() - start < 5
        assert (measured.outcome, measured.reason) == ("timed-out", "no result in 2 s")
        assert works(runner)


def test_functions_of_libm(runner: NativeRunner) -> None:
    kernel = planted("out[item] += expf(in[item]) - expf(in[item] + 0.0f);")
    assert runner.measure(kernel, DATA).outcome == "passed"


def slow(factor: int) -> CompiledKernel:
    """Takes longer the larger the factor is, by computing the same again."""
    return planted(f"for (volatile int i = 0; i < {factor}; i++) out[item] = 2 * in[item];")


def test_turns_order_kernels(runner: NativeRunner) -> None:
    factors = (30_000, 300, 3_000)
    measured = runner.measure_in_turns([slow(factor) for factor in factors], DATA, rounds=7)
    assert [one.outcome for one in measured] == ["passed"] * 3
    assert all(len(one.values) >= 3 for one in measured)
    times = [median(one.values) for one in measured]
    assert times[1] < times[2] < times[0]


def test_turns_leave_out_what_fails(runner: NativeRunner) -> None:
    kernels = [
        planted(),
        planted("*(volatile float *)0 = 1;"),
        planted("out[0] = -1;"),
        planted("static int runs = 0; if (runs++ > 200) abort();"),
        replace(planted(), object_code=b"no object"),
        planted("static int runs = 0; if (item == 9 && runs++ > 3) out[0] += 1;"),
        slow(1000),
    ]
    measured = runner.measure_in_turns(kernels, DATA, rounds=3)
    assert [one.outcome for one in measured] == [
        *("passed", "crashed", "wrong-numbers", "crashed", "crashed", "wrong-numbers", "passed")
    ]
    assert all(bool(one.values) == (one.outcome == "passed") for one in measured)
    assert works(runner)


def test_another_task_between(runner: NativeRunner) -> None:
    """Operands belong to the key."""
    given = np.arange(1000, dtype=np.float32)
    other = replace(DATA, key="other", inputs=(given,), expected=(2 * given,))
    for number in range(6):  # more than are kept
        one = replace(other, key=f"other {number}")
        assert runner.measure(planted(), one).outcome == "passed"
    assert works(runner)
    wrong = replace(other, key="swapped", inputs=DATA.inputs)
    assert runner.measure(planted(), wrong).outcome == "wrong-numbers"


def test_threads_share_a_kernel_as_in_a_session() -> None:
    """Of ten items two threads take eight parts; each worker has scratch of its own."""
    work = """
        own[0] = in[item * 100];
        struct timespec t = {0, 2000000}; nanosleep(&t, 0);
        out[item * 100] = 2 * own[0];
        if (end - begin > 2 && calls > 1) out[0] += 1;  /* the first call has halves of five */
        calls += item == end - 1 && end - begin == 5;
    """
    before = "#include <time.h>\nstatic volatile int calls;"
    kernel = planted(work, before=before, worker_scratch_bytes=16)
    with NativeRunner(2) as runner:
        assert "; 2 threads; " in runner.conditions
        shared = runner.measure(kernel, planted_data(macs=10_000_000))
        alone = runner.measure(kernel, replace(planted_data(macs=0), key="little work"))
    assert (shared.outcome, shared.reason) == ("passed", "")
    assert min(shared.values) < 0.8 * 20_000  # ten naps of 2 ms
    # Too little for a session to wake threads: one part of ten items, which `work` objects to.
    assert alone.outcome == "wrong-numbers"


def test_parts_for_each_thread_are_those_of_a_session() -> None:
    define = "#define TS_PARTS_FOR_EACH_THREAD 4"
    spin = "#define TS_DEFAULT_SPIN_US 100"
    root = Path(compiler.__file__).parent
    for file in ("artifact/runtime/session.c", "tuner/trial_harness.c"):
        text = (root / file).read_text()
        assert define in text, file
        assert spin in text, file


def test_other_work_on_the_processor_is_not_the_kernels() -> None:
    """Nine processes share a processor: by the clock on the wall a call takes nine times longer."""
    cpu = max(os.sched_getaffinity(0))
    kernel = slow(1_000_000)  # longer than a turn of the system
    with NativeRunner(1, cpus=[cpu]) as runner:
        alone = min(runner.measure(kernel, DATA).values)
        code = f"import os; os.sched_setaffinity(0, [{cpu}])\nwhile True: pass"
        others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
        try:
            beside = median(runner.measure(kernel, DATA).values)
        finally:
            for other in others:
                other.kill()
                other.wait()
    assert beside < 4 * alone  # what shares the core may slow it down all the same
