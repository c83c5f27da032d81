"""What differs between KeyDB and the ledger, and how many providers that concerns."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ops.repair import audit
from reconciliation import drift
from reconciliation.drift import KeydbComparison, KeydbDrift, LedgerComparison, LedgerDrift, Report
from shared.errors import Unanswerable

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS = st.sampled_from(["1_a", "2_b", "3_c", "4_d", "1_z", "x"])
VALUES = st.sampled_from(["1", "2", "-3"])
STORE = st.dictionaries(KEYS, VALUES)


def compare(
    expected: dict[str, str], listed: set[str], store: dict[str, str]
) -> dict[str, KeydbDrift]:
    found = {key: store.get(key) for key in expected.keys() | listed}
    return {one.key: one for one in drift.compare(expected, listed, found)}


@given(STORE)
def test_a_store_that_holds_and_lists_what_it_should_does_not_drift(
    expected: dict[str, str],
) -> None:
    assert compare(expected, set(expected), expected) == {}


@given(STORE, STORE, st.sets(KEYS))
def test_every_key_whose_value_or_listing_is_wrong_drifts_and_no_other(
    expected: dict[str, str], store: dict[str, str], listed: set[str]
) -> None:
    drifts = compare(expected, listed, store)
    for key in expected.keys() | listed:
        right = store.get(key) == expected.get(key) and (key in listed) == (key in expected)
        assert (key in drifts) is not right
    for key, one in drifts.items():
        assert (one.expected, one.found) == (expected.get(key), store.get(key))
        assert one.listed is (key in listed)


def test_a_foreign_key_that_we_never_listed_is_nobodys_business() -> None:
    assert compare({"1_a": "1"}, {"1_a"}, {"1_a": "1", "user:1": "x"}) == {}


@given(st.integers(), st.integers(), st.integers())
def test_what_is_missing_takes_the_ledger_to_the_truth(
    truth: int, balance: int, unfolded: int
) -> None:
    one = LedgerDrift(1, truth, balance, unfolded, "1_a", "1_a")
    assert balance + unfolded + one.missing == truth


def report(ledger: set[int], keys: set[str]) -> Report:
    return Report(
        LedgerComparison(1, 9, 9, frozenset(ledger), ()),
        KeydbComparison("compared", 1, 9, frozenset(keys), ()),
        0.1,
    )


def test_a_provider_that_differs_twice_is_one() -> None:
    assert report(set(), set()).drifting == 0
    assert report({1, 12}, {"1_Visa", "1_Old_name", "2_b", "foreign"}).drifting == 4


def tick(**changes: object) -> audit.Tick:
    whole = {
        "epoch": 7, "boundary": NOON, "snapshot": "1:1:", "rows": 3, "same_cluster": True,
        "before": "1:1:", "continued": True, "amount": Decimal(5), "epoch_before": 6,
    }  # fmt: skip
    return audit.Tick(**(whole | changes))  # type: ignore[arg-type]


def refusal(one: audit.Tick) -> str:
    try:
        audit.check(one)
    except Unanswerable as reason:
        return str(reason)
    return ""


def test_only_a_tick_that_continued_from_one_that_is_kept_can_be_audited() -> None:
    assert audit.check(tick()) == "1:1:"
    assert "another cluster" in refusal(tick(same_cluster=False))
    assert "baseline" in refusal(tick(boundary=None, before=None, continued=None))
    assert "baseline" in refusal(tick(continued=False))
    assert "HISTORY_RETENTION_DAYS" in refusal(tick(before=None, continued=None))
