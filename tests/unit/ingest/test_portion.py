"""What runs out of time is tried in smaller parts, and in larger ones once there is time."""

import pytest

from services.ingest.batch_size import AdaptiveBatchSize
from shared.errors import TooMuch, TooSlow, Unavailable

LIMIT_S = 30.0


def converge(
    batch_size: AdaptiveBatchSize, *, each_s: float, rounds: int
) -> list[tuple[int, bool]]:
    """Store again and again with a server of `each_s` per message; sizes, and which were stored."""
    tried = []
    for _ in range(rounds):
        size = batch_size.size
        stored = size * each_s < LIMIT_S
        if stored:
            batch_size.note_stored(size * each_s)
        else:
            batch_size.note_too_slow(size, LIMIT_S)
        tried.append((size, stored))
    return tried


def test_it_is_halved_until_there_is_time_and_then_no_more_time_is_wasted() -> None:
    tried = converge(AdaptiveBatchSize(4000), each_s=0.1, rounds=50)
    assert [size for size, stored in tried if not stored] == [4000, 2000, 1000, 500]
    assert {size for size, stored in tried if stored} == {250}


def test_it_grows_to_all_once_the_server_is_quick_again() -> None:
    batch_size = AdaptiveBatchSize(4000)
    converge(batch_size, each_s=7.0, rounds=12)
    assert batch_size.size <= 4
    tried = converge(batch_size, each_s=0.0001, rounds=15)
    assert all(stored for _, stored in tried)
    assert batch_size.size == 4000


def test_one_alone_is_tried_for_ever() -> None:
    tried = converge(AdaptiveBatchSize(8), each_s=100.0, rounds=10)
    assert [size for size, _ in tried[:4]] == [8, 4, 2, 1]
    assert set(tried[4:]) == {(1, False)}


def test_what_fails_at_once_for_being_too_much_is_no_measure_of_time() -> None:
    batch_size = AdaptiveBatchSize(8)
    with pytest.raises(TooMuch), batch_size.storing(8):
        raise TooMuch("postgres", "53200: out of memory")
    assert batch_size.size == 4
    batch_size.note_stored(0.5)
    assert batch_size.size == 8


def test_trouble_of_another_kind_puts_others_beside_what_was_alone() -> None:
    batch_size = AdaptiveBatchSize(8)
    with pytest.raises(TooSlow), batch_size.storing(2):
        raise TooSlow("postgres", "57014")
    assert batch_size.size == 1
    with pytest.raises(Unavailable), batch_size.storing(1):
        raise Unavailable("postgres", "refuses every row alike")
    assert batch_size.size == 2
