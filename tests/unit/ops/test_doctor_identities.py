"""When `ops doctor` says that the index of identities has outgrown the buffers."""

from dataclasses import replace

import pytest

from ops.doctor.identity_checks import Index, assess

OUTGROWN = Index(
    "historical_transactions_message_id_key", 733_000_000, 268_435_456, 9_000_000, 1_000_000
)


def test_an_index_larger_than_the_buffers_that_is_read_often_is_said() -> None:
    found = assess(OUTGROWN)

    assert found.verdict == "warn"
    assert found.found == "699 MB, shared_buffers 256 MB, 90.0% of its pages found there"
    assert "time-ordered" in found.advice


@pytest.mark.parametrize(
    "index",
    [
        replace(OUTGROWN, index_bytes=200_000_000),
        replace(OUTGROWN, hits=9_990_000, reads=10_000),
        replace(OUTGROWN, hits=900, reads=1000),
        replace(OUTGROWN, hits=0, reads=0),
    ],
    ids=["fits", "is found in the buffers", "was hardly used", "was never used"],
)
def test_an_index_is_not_complained_about_that(index: Index) -> None:
    assert assess(index).verdict == "ok"
