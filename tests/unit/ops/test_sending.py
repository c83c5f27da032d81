"""Each transaction becomes one message with an identity that stays, or is held back; batches."""

from datetime import UTC, datetime
from io import FileIO
from uuid import UUID

import pytest

from ops.sending.batch import Batch, Earlier, Runs, default_name, objection, same_lines
from ops.sending.producer import Outgoing
from ops.sending.rows import Draft, Invalid
from ops.sending.sender import delay_s
from ops.sending.source import Rules, message, typed
from ops.sending.unconfirmed import Unconfirmed
from shared.transaction_body import Limits

LIMITS = Limits(100)
BODY = b'{"id": 1, "value": 600}'
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NEW = Batch("a.csv:22", "a.csv", "22", lines=1, made_up=1)


def earlier(
    name: str, file: str, sha256: str, *, whole: bool = True, alike: int = 0, runs: int = 0
) -> Earlier:
    return Earlier(name, file, sha256, AT, "night shift", whole, alike, runs)


def refused(batch: Batch, *found: Earlier, again: bool = False, not_a_copy: bool = False) -> str:
    return objection(batch, found, again=again, not_a_copy=not_a_copy) or ""


def test_a_line_without_an_identity_is_known_by_its_batch_and_place() -> None:
    assert message(Draft(7, BODY), "b", LIMITS) == Outgoing(BODY, "b:7")
    assert message(Draft(7, BODY, "m"), "b", LIMITS) == Outgoing(BODY, "m")


def test_typed_transactions_are_a_batch_of_their_own_whose_name_begins_with_the_time() -> None:
    named = [typed(["1=600"], None, None, Rules(LIMITS)).batch for _ in range(2)]

    assert all(one.name_is_ours for one in named)
    assert [UUID(one.name.removeprefix("send-")).version for one in named] == [7, 7]
    assert named[0].name != named[1].name


def test_what_ingest_would_bury_is_held_back_unless_told_otherwise() -> None:
    bad = Draft(2, b"no", "n")

    assert message(bad, "b", LIMITS) == Invalid(
        2, "not_json: not JSON: Expecting value at character 0"
    )
    assert message(bad, "b", LIMITS, checked=False) == Outgoing(b"no", "n")


def test_a_body_at_which_a_broker_hangs_up_is_held_back_even_unchecked() -> None:
    found = message(Draft(2, b"x" * (2**24 + 1)), "b", LIMITS, checked=False)

    assert isinstance(found, Invalid)
    assert found.why.startswith("too_large")


@pytest.mark.parametrize("identity", ["x" * 300, "é" * 128, "\udcff", "a\0b"])
@pytest.mark.parametrize("checked", [True, False])
def test_an_identity_that_cannot_be_sent_is_its_own_lines_fault(
    identity: str, *, checked: bool
) -> None:
    found = message(Draft(3, BODY, identity), "b", LIMITS, checked=checked)

    assert isinstance(found, Invalid)
    assert (found.line, found.why.partition(":")[0]) == (3, "bad_identity")


def test_a_rate_is_kept_on_the_whole_and_none_waits_for_nothing() -> None:
    assert delay_s(10, 0.05, 100.0) == pytest.approx(0.05)
    assert delay_s(10, 5.0, 100.0) == 0.0
    assert delay_s(10**9, 0.0, None) == 0.0


def test_a_batch_is_named_by_its_file_and_what_is_in_it() -> None:
    assert default_name("a.csv", "0123456789abcdef" * 4) == "a.csv:0123456789abcdef"
    assert default_name("", "0123456789abcdef" * 4) == "stdin:0123456789abcdef"
    assert len(default_name("é\n" * 200, "0" * 64)) < 200


def test_a_batch_that_nothing_is_known_of_is_sent() -> None:
    assert refused(NEW) == ""
    assert refused(NEW, earlier("b.csv:33", "b.csv", "33")) == ""


def test_a_batch_that_was_not_confirmed_whole_may_be_sent_again_and_a_whole_one_when_told() -> None:
    assert refused(NEW, earlier("a.csv:22", "a.csv", "22", whole=False)) == ""
    assert "nothing is left to send" in refused(NEW, earlier("a.csv:22", "a.csv", "22"))
    assert refused(NEW, earlier("a.csv:22", "a.csv", "22"), again=True) == ""


def test_a_name_never_stands_for_other_lines() -> None:
    named = Batch("day", "a.csv", "22", named=True)

    why = refused(named, earlier("day", "b.csv", "33", whole=False), again=True, not_a_copy=True)

    assert "batch day (2026-11-20T10:00:00Z, night shift) had other lines" in why


def test_the_same_lines_under_another_name_are_pointed_out() -> None:
    renamed = Batch("c.csv:22", "c.csv", "22")
    why = refused(renamed, earlier("a.csv:22", "a.csv", "22"))

    assert "the same lines were sent as batch a.csv:22" in why
    assert "--batch 'a.csv:22'" in why
    assert refused(renamed, earlier("a.csv:22", "a.csv", "22"), not_a_copy=True) == ""


def test_other_lines_under_a_files_name_are_pointed_out_until_they_are_named() -> None:
    before = earlier("a.csv:11", "a.csv", "11")

    assert "with other lines was sent" in refused(NEW, before)
    assert refused(Batch("day2", "a.csv", "22", named=True), before) == ""
    assert refused(Batch("stdin:22", "", "22"), earlier("stdin:11", "", "11")) == ""


def test_most_of_the_same_lines_under_another_name_are_pointed_out() -> None:
    new = Batch("c", "c.csv", "22", named=True, runs=["1"] * 64)

    assert "many of the same lines" in refused(new, earlier("a", "a.csv", "1", alike=8, runs=64))
    assert refused(new, earlier("a", "a.csv", "1", alike=7, runs=64)) == ""
    assert refused(new, earlier("a", "a.csv", "1", alike=64, runs=64), not_a_copy=True) == ""


def test_copies_among_the_files_of_one_command_are_pointed_out() -> None:
    def batch(name: str, sha256: str, *runs: str) -> Batch:
        return Batch(name, name, sha256, runs=[*runs])

    def why(*batches: Batch, not_a_copy: bool = False) -> str | None:
        return same_lines(batches, not_a_copy=not_a_copy)

    first, alike = batch("a", "1", "r1", "r2"), batch("b", "2", "r2", "r3")
    assert "a and b have the same lines" in str(why(batch("c", "3"), first, alike))
    assert "a and d have the same lines" in str(why(first, batch("d", "1")))
    assert why(first, alike, not_a_copy=True) is None
    assert why(first, first, not_a_copy=True) == "a and a have the same lines"
    assert why(first, batch("b", "2", "r3"), batch("c", "3")) is None


def test_what_cannot_be_written_down_is_said_and_counted() -> None:
    with FileIO("/dev/full", "w") as full:
        found = Unconfirmed(full)
        found.add(Outgoing(BODY, "m"))

    assert (found.lines, found.trouble) == (1, "No space left on device")


def test_the_same_typed_twice_is_meant_twice() -> None:
    typed = Batch("send-1", "", "22", typed=True)

    assert refused(typed, earlier("send-0", "", "22")) == ""
    assert "had other lines" in refused(typed, earlier("send-1", "", "33"))


def runs_of(lines: range) -> set[str]:
    runs = Runs()
    for one in lines:
        runs.add(b"%d" % one)
    return set(runs.kept())


def test_files_that_share_most_lines_share_most_of_the_runs_that_are_kept() -> None:
    whole = runs_of(range(10_000))

    assert len(whole) == 64
    assert len(whole & runs_of(range(1, 10_000))) >= 63
    assert len(whole & runs_of(range(20_000))) > 8
    assert not whole & runs_of(range(10_000, 20_000))
    assert runs_of(range(9)) > runs_of(range(1, 9)) != set()
    assert runs_of(range(7)) == set()


def test_an_identity_that_ingest_looks_for_in_the_body_must_be_there() -> None:
    there = message(Draft(1, b'{"id": 1, "value": 6, "ref": "r"}', "m"), "b", LIMITS, field="ref")
    number = message(Draft(2, b'{"id": 1, "value": 6, "ref": 7}'), "b", LIMITS, field="ref")
    missing = message(Draft(3, BODY, "m"), "b", LIMITS, field="ref")

    assert [one.message_id for one in (there, number) if isinstance(one, Outgoing)] == ["r", "7"]
    assert isinstance(missing, Invalid)
    assert "no text in ref, where INGEST_MESSAGE_ID has identities" in missing.why
