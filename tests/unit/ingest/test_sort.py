"""A batch is split before the database sees it; of a refused one halving finds the guilty."""

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core import DeadLetter, PartitionedBatch, bisect, partition, validate
from shared.transaction_body import Limits
from tests.support.messages import BODY_MAX, UNFIT_BODIES, body, received

LIMITS = Limits(BODY_MAX)


def sorted_by_property(*messages: tuple[bytes, str | None]) -> PartitionedBatch:
    """Sort messages given as body and identity, with tags from 1."""
    batch = [received(text, identity, tag=tag) for tag, (text, identity) in enumerate(messages, 1)]
    return partition([validate(one, LIMITS, "property") for one in batch])


def test_transactions_keep_their_order_and_dead_letters_their_reasons() -> None:
    good = [(body(1, value), f"g{value}") for value in range(3)]
    bad = [(text, reason) for reason, text in UNFIT_BODIES.items()]
    found = sorted_by_property(*(one for pair in zip(good, bad, strict=False) for one in pair))
    assert [(one.provider_id, one.value) for one in found.transactions] == [(1, 0), (1, 1), (1, 2)]
    assert [(one.reason, one.identity) for one in found.dead] == [
        (reason, reason) for reason in list(UNFIT_BODIES)[:3]
    ]


def test_the_same_identity_with_the_same_content_is_a_repetition() -> None:
    again = b'{"value": 600, "id": 1, "note": "written otherwise"}'
    found = sorted_by_property((body(), "m1"), (again, "m1"), (body(), "m1"))
    assert [one.delivery.tag for one in found.transactions] == [1]
    assert found.repeated == 2
    assert not found.dead


def test_the_same_identity_with_other_content_is_left_for_the_database_to_decide() -> None:
    found = sorted_by_property((body(1, 600), "m1"), (body(1, 601), "m1"), (body(2, 600), "m1"))
    assert [one.value for one in found.transactions] == [600]
    assert [rival.delivery.body for rival in found.conflicting] == [body(1, 601), body(2, 600)]
    assert not found.dead


def test_messages_without_identity_are_all_different_whatever_they_say() -> None:
    found = sorted_by_property((body(), None), (body(), None), (body(), ""))
    assert [one.identity for one in found.transactions] == ["spare-1", "spare-2", "spare-3"]
    assert found.repeated == 0


def test_an_unfit_body_keeps_the_identity_by_which_its_redelivery_is_known() -> None:
    found = sorted_by_property((b"{", "m1"), (b"{", None))
    assert [letter.identity for letter in found.dead] == ["m1", "spare-2"]


def test_an_unfit_body_that_can_be_read_keeps_the_identity_in_its_own_field() -> None:
    text = b'{"id": 1, "value": "600", "txn": "m1"}'
    found = validate(received(text), LIMITS, "field:txn")
    assert isinstance(found, DeadLetter)
    assert (found.reason, found.identity) == ("wrong_type", "m1")


def test_a_bad_identity_is_not_kept() -> None:
    found = sorted_by_property((body(), "a\0b"))
    assert [(one.reason, one.identity) for one in found.dead] == [("bad_identity", "spare-1")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([body(1, 1), body(1, 2), body(2, 1), *UNFIT_BODIES.values()]),
            st.sampled_from([None, "", "a", "b", "c\0"]),
        )
    )
)
def test_every_message_is_accounted_for_once(batch: list[tuple[bytes, str | None]]) -> None:
    found = sorted_by_property(*batch)
    sorted_out = [*found.transactions, *found.conflicting, *found.dead]
    assert len(sorted_out) + found.repeated == len(batch)
    identities = [one.identity for one in found.transactions]
    assert len(set(identities)) == len(identities)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n)))))
def test_bisection_blames_exactly_the_guilty_and_lets_the_others_through_once(
    case: tuple[int, set[int]],
) -> None:
    size, wicked = case
    guilty = {one for one in wicked if one < size}
    went_through: list[int] = []
    attempts = 0

    def attempt(part: Sequence[int]) -> str | None:
        nonlocal attempts
        attempts += 1
        if guilty & set(part):
            return f"refused with {min(guilty & set(part))}"
        went_through.extend(part)
        return None

    blamed = bisect(range(size), attempt)
    assert blamed == [(one, f"refused with {one}") for one in sorted(guilty)]
    assert went_through == [one for one in range(size) if one not in guilty]
    assert attempts <= 1 + len(guilty) * 2 * math.ceil(math.log2(max(size, 2)))
