"""Ids that are made up are UUIDs of version 7: in the order of time, and each another."""

import time
import uuid

from shared.unique_ids import time_ordered


def test_an_id_is_a_uuid_of_version_7_and_begins_with_the_milliseconds() -> None:
    before = time.time_ns() // 10**6
    made = [time_ordered() for _ in range(1000)]
    after = time.time_ns() // 10**6

    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    assert all(before <= one.int >> 80 <= after for one in made)


def test_ids_of_later_milliseconds_sort_behind_as_text_and_none_comes_twice() -> None:
    made = [time_ordered() for _ in range(20_000)]  # of several milliseconds

    millis = [one.int >> 80 for one in made]
    assert len(set(millis)) > 1
    assert sorted(range(len(made)), key=lambda n: made[n].hex[:12]) == list(range(len(made)))
    assert len(set(made)) == len(made)


def test_all_that_is_not_fixed_or_time_is_random() -> None:
    ones = zeros = 0
    for _ in range(1000):
        one = time_ordered().int & ((1 << 80) - 1)
        ones, zeros = ones | one, zeros | ~one
    assert (ones & zeros & ((1 << 80) - 1)).bit_count() == 74
