"""What a fault cost: the longest pause that ended in its time."""

from tests.faults.ha.outages import longest_s


def test_the_longest_pause_counts_that_ended_in_the_time_of_a_fault_and_not_in_the_next() -> None:
    pauses = [(0.0, 1.0), (9.0, 12.0), (15.0, 16.0), (19.0, 40.0)]

    assert longest_s(pauses, 10.0, 20.0) == 3.0


def test_without_a_pause_it_cost_nothing() -> None:
    assert longest_s([(0.0, 1.0)], 10.0, 20.0) == 0.0
