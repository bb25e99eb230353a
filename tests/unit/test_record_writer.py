"""Writers of records: killed, many at once, on a full disk, beside a pruning."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import NoReturn

import pytest

from compiler.tuning.folder import RecordError, read_lines
from compiler.tuning.prune import prune
from compiler.tuning.record import ScheduleRecord
from compiler.tuning.summary import summarize
from compiler.tuning.writer import RecordWriter
from tests.tuning_records import KEY, TRACE, other_key, record


def found(folder: Path) -> list[ScheduleRecord]:
    return [line.schedule for line in read_lines(folder) if line.schedule is not None]


def numbers(folder: Path) -> set[int]:
    return {int(one.measurement.values[0]) for one in found(folder)}


def _write_until_killed(folder: Path, says: int) -> NoReturn:
    """Say each number when `append` has returned; a large trace takes longer to write."""
    steps = [["Split", ["l0"], ["x" * 400], ["l1"]]] * 100
    writer = RecordWriter(folder, KEY)
    for number in itertools.count(1):
        writer.append(record(float(number), trace=[steps, []]))
        os.write(says, b"%d\n" % number)
    raise AssertionError("it was not killed")


def _killed_writer(folder: Path, delay_s: float) -> set[int]:
    """Kill a writer some time after its first record; return the numbers that it called done."""
    hears, says = os.pipe()
    process = os.fork()
    if process == 0:
        _write_until_killed(folder, says)
    os.close(says)
    with open(hears) as said:
        first = said.readline()
        time.sleep(delay_s)
        os.kill(process, signal.SIGKILL)
        lines = [first, *said]
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    return {int(line) for line in lines if line.endswith("\n")}


def test_records_of_a_killed_writer_are_kept(tmp_path: Path) -> None:
    """Twenty writers, each killed at a random moment: what they called done is all there."""
    delays = random.Random(6)
    kept = 0
    for turn in range(20):
        folder = tmp_path / str(turn)
        done = _killed_writer(folder, delays.uniform(0, 0.05))
        assert done <= numbers(folder)
        assert len(numbers(folder)) <= len(done) + 1  # the one that it was about to say
        assert len(summarize(folder).complaints) <= 1  # half a line
        kept += len(done)
        with RecordWriter(folder, KEY) as after:  # a killed writer's lock is gone with it
            after.append(record(1e6))
        assert numbers(folder) >= done | {1_000_000}
    assert kept > 20


def _write_fifty(folder: Path, first: int) -> None:
    with RecordWriter(folder, KEY) as writer:
        for number in range(first, first + 50):
            writer.append(record(float(number)))


def test_four_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_fifty, args=(tmp_path, 1 + 50 * index)) for index in range(4)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        prune(tmp_path, keep=1_000, stale=False, damaged=True)  # leaves out nothing
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert numbers(tmp_path) == set(range(1, 201))
    assert not summarize(tmp_path).complaints
    (target,) = summarize(tmp_path).targets
    assert target.files == 4


def test_a_record_of_another_target_is_refused(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, KEY) as writer, pytest.raises(RecordError) as refused:
        writer.append(record(1.0, key=other_key("e", name="neighbour")))
    assert refused.value.what == "a record of neighbour does not belong to made-up"


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be kept"):
        RecordWriter(tmp_path, other_key("e", name=name))


def test_nothing_of_a_record_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def half(file: int, content: bytes) -> int:
        if len(content) < 40:
            raise OSError(errno.ENOSPC, "no space")
        return real(file, content[: len(content) // 2])

    with RecordWriter(tmp_path, KEY) as writer:
        writer.append(record(1.0))
        monkeypatch.setattr("compiler.tuning.writer.os.write", half)
        with pytest.raises(OSError, match="no space"):
            writer.append(record(2.0))
        monkeypatch.undo()
        writer.append(record(3.0))
    assert numbers(tmp_path) == {1, 3}
    assert not summarize(tmp_path).complaints


def test_a_writer_that_wrote_nothing_leaves_no_file(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, KEY) as writer:
        assert writer.path.exists()
    assert not writer.path.exists()


def test_prune_leaves_a_file_alone_that_is_being_written(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, KEY) as writer:
        writer.append(record(1.0, trace=TRACE))
        writer.append(record(2.0))
        done = prune(tmp_path, keep=1, stale=False, damaged=True)
        assert done.in_use == (writer.path.relative_to(tmp_path).as_posix(),)
        writer.append(record(3.0))
    assert numbers(tmp_path) == {1, 2, 3}
    assert prune(tmp_path, keep=1, stale=False, damaged=True).slower == 2
    assert numbers(tmp_path) == {1}
