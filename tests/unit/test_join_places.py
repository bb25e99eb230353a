"""Where operands of concatenations go: into their result, at most one each, the last join first."""

from __future__ import annotations

from compiler.join_places import Join, JoinPlaces, Place, join_places

SIZES = {"a": 2, "b": 3, "c": 4, "ab": 5, "abc": 9, "ca": 6}


def _places(*joins: tuple[str, str], fixed: str = "") -> JoinPlaces[str]:
    """Joins as (result, operands), each operand a letter or a whole result."""
    made = [Join(result, tuple(operands.split())) for result, operands in joins]
    return join_places(made, SIZES, set(SIZES) - set(fixed.split()))


def test_operands_lie_one_after_another() -> None:
    found = _places(("abc", "a b c"))
    assert found.done == (0,)
    assert found.places == {"a": Place("abc", 0), "b": Place("abc", 2), "c": Place("abc", 5)}


def test_a_join_of_a_join_moves_with_it() -> None:
    found = _places(("ab", "a b"), ("abc", "ab c"))
    assert found.done == (0, 1)
    assert found.places["b"] == Place("abc", 2)
    assert found.places["ab"] == Place("abc", 0)


def test_a_shorter_join_is_a_part_of_a_later_one() -> None:
    found = _places(("ab", "a b"), ("abc", "a b c"))
    assert found.done == (0, 1)
    assert found.places["ab"] == Place("abc", 0)


def test_a_value_in_two_joins_goes_to_the_last() -> None:
    found = _places(("ca", "c a"), ("ab", "a b"))
    assert found.done == (1,)
    assert found.places == {"a": Place("ab", 0), "b": Place("ab", 2)}


def test_what_must_stay_is_not_moved() -> None:
    assert _places(("ab", "a b"), fixed="b").done == ()


def test_a_result_that_must_stay_is_written_in_place() -> None:
    found = _places(("ab", "a b"), fixed="ab")
    assert found.places == {"a": Place("ab", 0), "b": Place("ab", 2)}


def test_a_result_that_must_stay_is_no_part_of_a_later_one() -> None:
    found = _places(("ab", "a b"), ("abc", "a b c"), fixed="ab")
    assert found.done == (1,)


def test_an_operand_joined_twice_is_copied() -> None:
    assert _places(("ab", "a a")).done == ()
