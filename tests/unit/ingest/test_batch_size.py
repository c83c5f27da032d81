"""What runs out of time is tried in smaller parts, and in larger ones once there is time."""

import contextlib

import pytest

from services.ingest.batch_size import AdaptiveBatchSize
from shared.errors import TooMuch, TooSlow, Unavailable

LIMIT_S = 30.0


class Server:
    """Needs `each_s` for a message, on a clock of its own, and gives up at the limit."""

    def __init__(self, most: int) -> None:
        self.now_s = 0.0
        self.batch_size = AdaptiveBatchSize(most, lambda: self.now_s)

    def store(self, each_s: float) -> tuple[int, bool]:
        """Store as many as the batch size says; says how many, and whether there was time."""
        size = self.batch_size.size
        with contextlib.suppress(TooSlow), self.batch_size.storing(size):
            self.now_s += min(size * each_s, LIMIT_S)
            if size * each_s < LIMIT_S:
                return size, True
            raise TooSlow("postgres", "57014")
        return size, False

    def store_all(self, *, each_s: float, rounds: int) -> list[tuple[int, bool]]:
        return [self.store(each_s) for _ in range(rounds)]


def test_it_is_halved_until_there_is_time_and_then_no_more_time_is_wasted() -> None:
    tried = Server(4000).store_all(each_s=0.1, rounds=50)
    assert [size for size, stored in tried if not stored] == [4000, 2000, 1000, 500]
    assert {size for size, stored in tried if stored} == {250}


def test_it_grows_to_all_once_the_server_is_quick_again() -> None:
    server = Server(4000)
    server.store_all(each_s=7.0, rounds=12)
    assert server.batch_size.size <= 4
    tried = server.store_all(each_s=0.0001, rounds=15)
    assert all(stored for _, stored in tried)
    assert server.batch_size.size == 4000


def test_one_alone_is_tried_without_end() -> None:
    tried = Server(8).store_all(each_s=100.0, rounds=10)
    assert [size for size, _ in tried[:4]] == [8, 4, 2, 1]
    assert set(tried[4:]) == {(1, False)}


def test_what_fails_at_once_for_being_too_much_is_no_measure_of_time() -> None:
    server = Server(8)
    with pytest.raises(TooMuch), server.batch_size.storing(8):
        raise TooMuch("postgres", "53200: out of memory")
    assert server.batch_size.size == 4
    server.store(each_s=0.125)
    assert server.batch_size.size == 8


def test_trouble_of_another_kind_puts_others_beside_what_was_alone() -> None:
    batch_size = AdaptiveBatchSize(8)
    with pytest.raises(TooSlow), batch_size.storing(2):
        raise TooSlow("postgres", "57014")
    assert batch_size.size == 1
    with pytest.raises(Unavailable), batch_size.storing(1):
        raise Unavailable("postgres", "refuses every row alike")
    assert batch_size.size == 2
