"""What the fault suite calls a difference: each kind of loss and doubling is found."""

from collections.abc import Iterable

import pytest

from tests.faults import verdict
from tests.faults.message_mixture import Mixture, Sent
from tests.support.reference_ledger import Books, Provider, Row

BODY, OTHER_BODY = b'{"id": 1, "value": 5}', b'{"id": 1, "value": 6}'
DEAD = ("a", BODY)


def sent(*, confirmed: int = 1, reason: str | None = None, provider: int = 1) -> Sent:
    return Sent("a", BODY, provider, 5, reason, at_s=1.0, confirmed=confirmed)


def found(
    rows: Iterable[Row] = (), dead_letters: dict[tuple[str, bytes], list[str]] | None = None
) -> verdict.Stored:
    return verdict.Stored({"a": list(rows)} if rows else {}, dead_letters or {})


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        (sent(), found([Row(1, 5)])),
        (sent(confirmed=0), found([Row(1, 5)])),
        (sent(confirmed=0), found()),
        (sent(reason="not_json"), found(dead_letters={DEAD: ["not_json"]})),
        (sent(provider=9), found(dead_letters={DEAD: ["unknown_provider"]})),
    ],
)
def test_what_is_as_it_must_be_is_no_difference(message: Sent, stored: verdict.Stored) -> None:
    assert not list(verdict.of_messages([message], stored, [1]))


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        pytest.param(sent(), found(), id="lost"),
        pytest.param(sent(reason="not_json"), found(), id="dead letter lost"),
        pytest.param(sent(), found([Row(1, 5), Row(1, 5)]), id="twice a row"),
        pytest.param(
            sent(confirmed=0), found([Row(1, 5), Row(1, 5)]), id="never confirmed, and twice"
        ),
        pytest.param(sent(), found([Row(1, 5)], {DEAD: ["not_json"]}), id="row and dead letter"),
        pytest.param(
            sent(reason="not_json"),
            found(dead_letters={DEAD: ["not_json", "not_json"]}),
            id="twice a dead letter",
        ),
        pytest.param(sent(), found([Row(1, 6)]), id="another value"),
        pytest.param(sent(), found([Row(2, 5)]), id="another provider"),
        pytest.param(
            sent(), found(dead_letters={DEAD: ["not_json"]}), id="good one is a dead letter"
        ),
        pytest.param(
            sent(), found(dead_letters={DEAD: ["unknown_provider"]}), id="waits without end"
        ),
        pytest.param(
            sent(), found([Row(1, 5)], {("a", OTHER_BODY): ["id_conflict"]}), id="never sent"
        ),
    ],
)
def test_whatever_else_became_of_a_message_is_a_difference(
    message: Sent, stored: verdict.Stored
) -> None:
    assert list(verdict.of_messages([message], stored, [1]))


def test_of_two_contents_under_one_identity_one_is_a_row_and_one_a_dead_letter() -> None:
    both = [sent(), Sent("a", OTHER_BODY, 1, 6, confirmed=1)]
    right = found([Row(1, 6)], {DEAD: ["id_conflict"]})
    assert not list(verdict.of_messages(both, right, [1]))
    for wrong in (
        found([Row(1, 6)]),
        found([Row(1, 5), Row(1, 6)]),
        found(dead_letters={DEAD: ["id_conflict"]}),
    ):
        assert list(verdict.of_messages(both, wrong, [1]))


def test_balances_are_what_the_ledgers_say() -> None:
    books = Books({1: Provider("Card", 100)}, {7: Row(1, -30)})
    stored = found([Row(1, 5)])
    expected = verdict.balances([sent()], stored, books)
    assert expected == {"1_Card": "75"}
    assert not list(verdict.of_balances(expected, {"1_Card": "75"}, "KeyDB"))
    assert list(verdict.of_balances(expected, {"1_Card": "70"}, "KeyDB"))
    assert list(verdict.of_balances(expected, {}, "KeyDB"))
    assert list(verdict.of_balances(expected, {**expected, "2_Old": "1"}, "KeyDB"))


def test_the_same_seed_sends_the_same_messages() -> None:
    one, other = Mixture(7), Mixture(7)
    drawn = [one.draw() for _ in range(3000)]
    assert [(m.identity, m.body) for m in drawn] == [
        (m.identity, m.body) for m in (other.draw() for _ in range(3000))
    ]
    kinds = {m.reason for m in drawn}
    assert len(kinds) >= 8
    assert len({(m.identity, m.body) for m in drawn}) < len(drawn), "some are published twice"
    assert len({m.identity for m in drawn}) < len({(m.identity, m.body) for m in drawn})
