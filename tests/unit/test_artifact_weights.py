"""The weights blob."""

from __future__ import annotations

import numpy as np

from compiler.artifact.weights import WEIGHT_ALIGNMENT, pack_weights, weights_sources


def test_equal_constants_are_kept_once_and_all_are_aligned() -> None:
    row = np.arange(5, dtype=np.float32)
    blob = pack_weights({7: row, 2: np.array([1, 2], np.int8), 9: row.copy(), 11: row.T + 1})
    assert blob.offsets == {2: 0, 7: 64, 9: 64, 11: 128}
    assert len(blob.data) == 3 * WEIGHT_ALIGNMENT
    assert blob.data[64:84] == row.tobytes()
    assert blob.data[84:128] == bytes(44)


def test_order_does_not_depend_on_the_mapping() -> None:
    one, two = np.ones(3), np.zeros(40)
    assert pack_weights({1: one, 2: two}) == pack_weights({2: two, 1: one})


def test_array_that_is_not_contiguous_is_written_row_by_row() -> None:
    square = np.arange(4, dtype=np.int32).reshape(2, 2).T
    assert np.frombuffer(pack_weights({0: square}).data[:16], np.int32).tolist() == [0, 2, 1, 3]


def test_no_constants_give_a_source_that_still_compiles() -> None:
    blob = pack_weights({})
    assert blob.data == b""
    ((name, text),) = weights_sources(blob, "c", "kws")
    assert name == "kws_weights.c"
    assert b"ts_weights[64]" in text


def test_c_source_spells_each_byte_in_three_octal_digits() -> None:
    blob = pack_weights({0: np.array([0, 7, 255, 48], np.uint8)})
    ((_, text),) = weights_sources(blob, "c", "kws")
    assert rb'"\000\007\377\060' in text
