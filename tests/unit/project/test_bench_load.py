"""What the bench of the gateway posts, and how its figures are read off."""

import json

import pytest

from bench.peers.http_load import Connection, Load, percentile, requests


@pytest.mark.parametrize("items", [1, 3])
def test_each_request_is_whole_and_says_its_length(items: int) -> None:
    head, _, body = requests(items, "a-token")[0].partition(b"\r\n\r\n")

    found = json.loads(body)
    assert isinstance(found, dict) if items == 1 else len(found) == items
    assert f"Content-Length: {len(body)}\r\n" in f"{head.decode()}\r\n"
    assert b"Authorization: Bearer a-token\r\n" in head


def test_an_answer_counts_once_it_is_whole_however_it_comes() -> None:
    load = Load([b""], per_s=1, count=0)
    connection = Connection(load)
    connection.due = 1.0

    for byte in b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}":
        assert load.statuses == {}
        connection.data_received(bytes((byte,)))

    assert load.statuses == {202: 1}


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([], 0.5, 0.0), ([3.0], 0.99, 3.0), ([float(n) for n in range(100)], 0.99, 99.0)],
)
def test_a_percentile_is_a_value_that_was_measured(
    values: list[float], share: float, found: float
) -> None:
    assert percentile(values, share) == found
