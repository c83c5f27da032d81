"""A batch is partitioned before Postgres sees it; in a refused one bisection finds the fault."""

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core import DeadLetter, PartitionedBatch, bisect, partition, validate
from shared.transaction_body import Limits
from tests.support.messages import BODY_MAX, body, received
from tests.support.unfit_bodies import UNFIT_BODIES

LIMITS = Limits(BODY_MAX)


def partitioned(*messages: tuple[bytes, str | None]) -> PartitionedBatch:
    """Partition messages given as body and identity, with tags from 1."""
    batch = [received(text, identity, tag=tag) for tag, (text, identity) in enumerate(messages, 1)]
    return partition([validate(one, LIMITS, "property") for one in batch])


def test_transactions_keep_their_order_and_dead_letters_their_reasons() -> None:
    good = [(body(1, value), f"g{value}") for value in range(3)]
    bad = [(text, reason) for reason, text in UNFIT_BODIES.items()]
    found = partitioned(*(one for pair in zip(good, bad, strict=False) for one in pair))
    assert [(one.provider_id, one.value) for one in found.transactions] == [(1, 0), (1, 1), (1, 2)]
    assert [(one.reason, one.identity) for one in found.dead] == [
        (reason, reason) for reason in list(UNFIT_BODIES)[:3]
    ]


def test_the_same_identity_with_the_same_content_is_a_repetition() -> None:
    again = b'{"value": 600, "id": 1, "note": "written otherwise"}'
    found = partitioned((body(), "m1"), (again, "m1"), (body(), "m1"))
    assert [one.delivery.tag for one in found.transactions] == [1]
    assert found.repeated == 2
    assert not found.dead


def test_the_same_identity_with_other_content_is_left_for_the_database_to_decide() -> None:
    found = partitioned((body(1, 600), "m1"), (body(1, 601), "m1"), (body(2, 600), "m1"))
    assert [one.value for one in found.transactions] == [600]
    assert [one.delivery.body for one in found.conflicting] == [body(1, 601), body(2, 600)]
    assert not found.dead


def test_messages_without_identity_are_all_different_whatever_they_say() -> None:
    found = partitioned((body(), None), (body(), None), (body(), ""))
    assert [one.identity for one in found.transactions] == [
        "fallback-1",
        "fallback-2",
        "fallback-3",
    ]
    assert found.repeated == 0


def test_an_unfit_body_keeps_the_identity_by_which_its_redelivery_is_known() -> None:
    found = partitioned((b"{", "m1"), (b"{", None))
    assert [one.identity for one in found.dead] == ["m1", "fallback-2"]


def test_an_unfit_body_that_can_be_read_keeps_the_identity_in_its_own_field() -> None:
    text = b'{"id": 1, "value": "600", "txn": "m1"}'
    found = validate(received(text), LIMITS, "field:txn")
    assert isinstance(found, DeadLetter)
    assert (found.reason, found.identity) == ("wrong_type", "m1")


def test_a_bad_identity_is_not_kept() -> None:
    found = partitioned((body(), "a\0b"))
    assert [(one.reason, one.identity) for one in found.dead] == [("bad_identity", "fallback-1")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([body(1, 1), body(1, 2), body(2, 1), *UNFIT_BODIES.values()]),
            st.sampled_from([None, "", "a", "b", "c\0"]),
        )
    )
)
def test_every_message_is_accounted_for_once(batch: list[tuple[bytes, str | None]]) -> None:
    found = partitioned(*batch)
    kept = [*found.transactions, *found.conflicting, *found.dead]
    assert len(kept) + found.repeated == len(batch)
    identities = [one.identity for one in found.transactions]
    assert len(set(identities)) == len(identities)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n)))))
def test_bisection_finds_exactly_those_at_fault_and_lets_the_others_through_once(
    case: tuple[int, set[int]],
) -> None:
    size, drawn = case
    at_fault = {one for one in drawn if one < size}
    went_through: list[int] = []
    attempts = 0

    def attempt(part: Sequence[int]) -> str | None:
        nonlocal attempts
        attempts += 1
        if at_fault & set(part):
            return f"refused with {min(at_fault & set(part))}"
        went_through.extend(part)
        return None

    found = bisect(range(size), attempt)
    assert found == [(one, f"refused with {one}") for one in sorted(at_fault)]
    assert went_through == [one for one in range(size) if one not in at_fault]
    assert attempts <= 1 + len(at_fault) * 2 * math.ceil(math.log2(max(size, 2)))
