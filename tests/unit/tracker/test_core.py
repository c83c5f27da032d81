"""What is decided of a request, and what a reply says of it."""

import json
from datetime import UTC, datetime

import pytest

from services.tracker import core
from shared.ledger.request import Document, ItemError, Outcome, State

DEAD = ItemError(1, "wrong_type", "why")
NOTHING = Outcome()
AT = datetime(2026, 11, 28, 7, tzinfo=UTC)


def open_request(
    *,
    stored: int = 0,
    waiting: int = 0,
    missing: int = 0,
    errors: tuple[ItemError, ...] = (),
    before: Outcome = NOTHING,
    told: bool = False,
    state: State = "pending",
) -> core.OpenRequest:
    undecided = tuple(range(waiting + missing))
    number = stored + len(errors) + len(undecided)
    return core.OpenRequest(
        "K",
        number,
        state,
        before,
        told,
        stored,
        waiting,
        errors,
        (),
        undecided,
    )


def states(found: core.Change | None) -> tuple[str, bool] | None:
    return (found.state, found.waiting) if found else None


@pytest.mark.parametrize(
    ("seen", "keep", "written"),
    [
        (open_request(missing=2), True, None),
        (open_request(stored=2), False, ("done", False)),
        (open_request(errors=(DEAD,)), False, ("failed", False)),
        (open_request(stored=1, before=Outcome(0, (DEAD,))), False, ("failed", False)),
        (open_request(stored=1, missing=1), False, None),
        (open_request(stored=1, missing=1), True, ("running", False)),
        (open_request(errors=(DEAD,), missing=1), True, ("pending", False)),
        (open_request(stored=1, waiting=1), False, ("running", True)),
        (open_request(waiting=1), False, ("running", True)),
        (open_request(waiting=1, told=True), True, None),
        (open_request(waiting=1, missing=1), True, None),
        (open_request(stored=1, waiting=1, told=True), True, ("running", False)),
    ],
)
def test_it_is_written_once_decided_and_before_that_seldom(
    seen: core.OpenRequest,
    keep: bool,  # noqa: FBT001
    written: tuple[str, bool] | None,
) -> None:
    assert states(core.decide(seen, keep=keep)) == written


def test_what_was_decided_before_is_kept() -> None:
    found = core.decide(open_request(stored=2, before=Outcome(3, (DEAD,))), keep=False)

    assert found
    assert found.outcome == Outcome(5, (DEAD,))


def test_errors_are_in_the_order_of_items() -> None:
    later = ItemError(0, "not_json", "why")

    assert Outcome(0, (DEAD,)).joined(0, (later,)).errors == (later, DEAD)


def test_those_of_which_something_is_known_for_the_first_time_begin_to_run() -> None:
    seen = [
        open_request(stored=1, missing=1),
        open_request(missing=1),
        open_request(waiting=1, state="running"),
    ]

    assert core.starts_running(seen) == ["K"]


@pytest.mark.parametrize(
    ("mib", "count"),
    [([], 1), ([1, 1, 1], 3), ([3, 1, 1], 2), ([8], 1), ([8, 1], 1), ([2, 8, 1], 1)],
)
def test_requests_are_handled_together_up_to_a_size_and_one_at_least(
    mib: list[int], count: int
) -> None:
    assert core.at_once(one * 2**20 for one in mib) == count


def document(errors: int) -> Document:
    dead = tuple(ItemError(number, "wrong_type", "id is text") for number in range(errors))
    return Document(
        "K", "failed", errors, 0, {"wrong_type": errors}, 0, 0, dead, AT, AT, AT, 0.0, None, None
    )


def test_a_reply_is_the_document_up_to_its_size() -> None:
    small, large = (json.loads(core.reply(document(number))) for number in (10, 2000))

    assert len(small["errors"]) == 10
    assert large["location"] == "/v1/requests/K"
    assert large.keys() - {"location"} == small.keys() - {"errors"}
    assert small["accepted_at"] == "2026-11-28T07:00:00Z"
