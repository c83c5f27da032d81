"""How long a partition of the outbox is: no retention that is permitted keeps very many."""

from services.syncer.partitions import PARTITIONS_KEPT_MAX, Kept


def test_for_every_retention_only_so_many_partitions_are_kept() -> None:
    assert [Kept(hours, 30).span_h for hours in (1, 24, 96, 97, 8760)] == [4, 4, 4, 8, 368]
    for hours in range(1, 8761):
        assert hours <= PARTITIONS_KEPT_MAX * Kept(hours, 30).span_h < hours + 96 + 4


def test_where_the_size_is_limited_too_partitions_are_as_short_as_an_hour() -> None:
    assert [Kept(hours, 30, 1e9).span_h for hours in (1, 24, 25, 96, 8760)] == [1, 1, 2, 4, 365]
