"""What the fault suite calls a difference between requests, what is stored and what was told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.request_mixture import Item, Posting, RequestMixture
from tests.faults.request_verdict import Requests, of_keys, of_requests, sent
from tests.faults.verdict import Stored
from tests.support.reference_ledger import Row

Told = Mapping[str, Sequence[Mapping[str, Any]]]

GOOD, OTHER = Item(1, 5), Item(1, 6)
DONE: dict[str, Any] = {
    "request": "K", "state": "done", "items": 1, "stored": 1, "dead": {}, "waiting": 0,
    "missing": 0, "decided_at": "12:00:01Z", "counted_by": "12:01:00Z", "shown_at": "12:01:01Z",
}  # fmt: skip
FAILED = DONE | {
    "state": "failed", "stored": 0, "dead": {"refused_by_database": 1}, "counted_by": None,
    "shown_at": None,
}  # fmt: skip
OPEN = (
    DONE
    | {"state": "running", "stored": 0, "missing": 1}
    | dict.fromkeys(("decided_at", "counted_by", "shown_at"))
)
WAITS = OPEN | {"missing": 0, "waiting": 1}
DECIDED_ONLY = DONE | dict.fromkeys(("counted_by", "shown_at"))
CONFLICT = {"request": "K", "error": "idempotency_conflict"}
ROW = Stored({"K:0": [Row(1, 5)]}, {})
NOTHING = Stored({}, {})


def posting(to: str = "a", item: Item = GOOD, **told: Any) -> Posting:
    return replace(Posting("K", [item], to, accepted=1), **told)


def dead_letter(reason: str) -> Stored:
    return Stored({}, {("K:0", GOOD.body()): [reason]})


def of(*taken: Posting, others: Sequence[Posting] = ()) -> Requests:
    return Requests({"K": [*taken, *others]}, {"K": [*taken]})


LOSER = posting("b", OTHER)
GONE = posting(deleted={"K:0"})


@pytest.mark.parametrize(
    ("requests", "books", "document", "told"),
    [
        (of(posting()), ROW, DONE, {"a": [DONE]}),
        (of(posting()), ROW, DONE, {"a": [DONE, DONE]}),
        (of(posting()), dead_letter("refused_by_database"), FAILED, {"a": [FAILED]}),
        (of(posting()), dead_letter("unknown_provider"), WAITS, {"a": [WAITS]}),
        (of(posting()), ROW, DONE, {"a": [WAITS, DONE]}),
        (of(posting(), posting("b")), ROW, DONE, {"a": [DONE], "b": [OPEN]}),
        (of(posting(), posting("b")), ROW, DONE, {"a": [DONE], "b": [DECIDED_ONLY, DONE]}),
        (of(posting(), others=[LOSER]), ROW, DONE, {"a": [DONE], "b": [CONFLICT]}),
        (of(posting(), others=[replace(LOSER, accepted=0)]), ROW, DONE, {"a": [DONE]}),
        (of(GONE), NOTHING, DONE, {"a": [DONE]}),
    ],
)
def test_what_is_as_it_must_be_is_no_difference(
    requests: Requests, books: Stored, document: Mapping[str, Any], told: Told
) -> None:
    assert [one.text for one in of_requests(requests, books, {"K": document}, told)] == []


@pytest.mark.parametrize(
    ("requests", "books", "document", "told", "says"),
    [
        (of(posting()), NOTHING, OPEN, {"a": [DONE]}, "'missing': 1"),
        (of(posting()), NOTHING, DONE, {"a": [DONE]}, "'stored': 1"),
        (
            of(posting()),
            dead_letter("refused_by_database"),
            DONE,
            {"a": [DONE]},
            "refused_by_database",
        ),
        (of(posting()), ROW, DONE, {}, "no reply to a"),
        (of(posting()), ROW, DONE, {"a": [OPEN]}, "no reply says what was decided"),
        (of(posting()), ROW, DONE, {"a": [OPEN, DONE]}, "a got"),
        (of(posting()), ROW, DONE, {"a": [DONE, DECIDED_ONLY]}, "a got"),
        (of(posting()), ROW, DONE, {"a": [DONE, DONE | {"stored": 2}]}, "a got"),
        (of(posting()), ROW, DONE, {"a": [DONE, CONFLICT]}, "a conflict with itself"),
        (of(posting()), ROW, DONE, {"a": [DONE], "c": [DONE]}, "replies to c"),
        (of(posting(), posting("b")), ROW, DONE, {"a": [DONE]}, "no reply to b"),
        (of(posting(), others=[LOSER]), ROW, DONE, {"a": [DONE]}, "was told of no conflict"),
        (of(posting(), others=[LOSER]), ROW, DONE, {"a": [DONE], "b": [DONE]}, "other items"),
        (of(GONE), ROW, DONE, {"a": [DONE]}, "it is back"),
        (of(posting(conflicts=1)), ROW, DONE, {"a": [DONE]}, "its items were taken"),
    ],
)
def test_what_differs_is_said(
    requests: Requests, books: Stored, document: Mapping[str, Any], told: Told, says: str
) -> None:
    texts = [one.text for one in of_requests(requests, books, {"K": document}, told)]
    assert any(says in one for one in texts), texts


def test_a_202_for_a_key_that_nobody_knows_is_a_difference_and_no_answer_is_none() -> None:
    (difference,) = of_keys(Requests({"K": [posting()]}, {"K": []}))
    assert difference.text == "request K was answered 202 and is not known"
    assert not list(of_keys(Requests({"K": [posting(accepted=0)]}, {"K": []})))


def test_what_must_be_stored_is_what_was_taken_but_for_rows_that_were_deleted() -> None:
    (one,) = sent(of(posting(), others=[LOSER])).values()
    assert (one.identity, one.body, one.provider, one.value) == ("K:0", GOOD.body(), 1, 5)
    assert one.confirmed
    assert not sent(of(GONE))
    assert not sent(of(others=[LOSER]))


def test_the_same_seed_gives_the_same_requests_and_two_under_one_key_come_at_once() -> None:
    one, again = RequestMixture(7), RequestMixture(7)
    drawn = [one.draw() for _ in range(300)]
    assert [[post.body() for post in many] for many in drawn] == [
        [post.body() for post in again.draw()] for _ in range(300)
    ]
    twice = [many for many in drawn if len(many) == 2]
    assert all(first.key == second.key for first, second in twice)
    assert {first.digest() == second.digest() for first, second in twice} == {True, False}
    assert {post.habit for many in drawn for post in many} == {
        "once", "again", "row deleted", "gives up",
    }  # fmt: skip
    assert all(len(set(post.identities())) == len(post.items) for many in drawn for post in many)
