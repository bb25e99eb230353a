"""How often a kernel is measured, and which times count."""

from __future__ import annotations

from compiler.tuner.repeats import Repeat, calls_of_a_repeat, is_enough, kept


def repeats(*times: float, disturbed: tuple[int, ...] = ()) -> list[Repeat]:
    return [Repeat(us=us, undisturbed=number not in disturbed) for number, us in enumerate(times)]


def test_a_repeat_takes_two_milliseconds_or_one_call() -> None:
    assert calls_of_a_repeat(0.0000025) == 800
    assert calls_of_a_repeat(0.0015) == 2
    assert calls_of_a_repeat(0.5) == 1


def test_five_equal_times_are_enough() -> None:
    assert not is_enough(repeats(1, 1, 1, 1), time_is_up=False)
    assert is_enough(repeats(1, 1.001, 1, 1.002, 1), time_is_up=False)


def test_spread_asks_for_more() -> None:
    wide = (1.0, 1.2, 1.3, 1.1, 1.25)
    assert not is_enough(repeats(*wide), time_is_up=False)
    assert not is_enough(repeats(*wide, 1.3, 1.2, 1.15), time_is_up=False)
    assert is_enough(repeats(*wide, *[1.0] * 6), time_is_up=False)  # the median is 1 by now
    assert is_enough(repeats(*wide * 6), time_is_up=False)  # thirty, and no end of it


def test_a_few_outliers_do_not_matter() -> None:
    assert is_enough(repeats(1, 1, 9, 1, 7), time_is_up=False)


def test_time_ends_it_but_not_before_the_third() -> None:
    assert not is_enough(repeats(1.0, 2.0), time_is_up=True)
    assert is_enough(repeats(1.0, 2.0, 3.0), time_is_up=True)


def test_disturbed_times_are_left_out_if_there_are_others() -> None:
    taken = repeats(1, 5, 1, 5, 1, disturbed=(1, 3))
    assert [repeat.us for repeat in kept(taken)] == [1, 1, 1]
    assert not is_enough(taken, time_is_up=False)  # three are left: two more
    few = repeats(1, 1, 1, 5, disturbed=(1, 3))
    assert list(kept(few)) == few


def test_of_times_that_do_not_agree_the_slower_half_is_left_out() -> None:
    taken = repeats(1.5, 1.0, 2.0, 1.1, 1.2, 3.0, 1.05, 1.4)
    assert [repeat.us for repeat in kept(taken)] == [1.0, 1.05, 1.1, 1.2]
    assert len(kept(repeats(1.0, 2.0, 3.0))) == 3
    equal = repeats(1, 1, 1, 1, 9, 9)
    assert list(kept(equal)) == equal
