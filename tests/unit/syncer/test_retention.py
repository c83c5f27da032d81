"""How long a partition of the outbox is: no retention that is permitted keeps very many."""

from services.syncer.retention import PARTITIONS_KEPT_MAX, span_h


def test_for_every_retention_only_so_many_partitions_are_kept() -> None:
    assert [span_h(hours) for hours in (1, 24, 96, 97, 8760)] == [4, 4, 4, 8, 368]
    for hours in range(1, 8761):
        assert hours <= PARTITIONS_KEPT_MAX * span_h(hours) < hours + 96 + 4
