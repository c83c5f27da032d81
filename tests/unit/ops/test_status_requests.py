"""What `ops status` says of requests."""

from ops.status.core import assess
from ops.status.snapshot import Requests
from tests.support.status_probes import ALL_HEALTHY, only, shown_to_people, with_ledger


def test_requests_have_a_row_where_there_is_a_tracker() -> None:
    none, some = Requests(0, None, 0), Requests(1200, 90.0, 3)

    assert "requests" not in shown_to_people(ALL_HEALTHY)
    for found, says in (
        (none, "0 open, 0 failed"),
        (some, "1,200 open, the oldest 1 min 30 s old, 3 failed"),
    ):
        assert f"{says} since yesterday\n" in shown_to_people(with_ledger(requests=found))
        assert assess(with_ledger(requests=found)) == []


def test_one_that_is_open_for_longer_than_an_hour_is_a_note() -> None:
    found = only(with_ledger(requests=Requests(1, 3700.0, 0)))

    assert (found.level, found.about) == ("note", "requests")
    assert "ops requests list --state running" in found.do
