"""What `ops doctor` makes of Postgres's catalogue: sequences, rights, collations."""

from dataclasses import replace

import pytest

from ops.doctor import collation_checks, grants, rights_checks, sequence_checks
from ops.doctor.sequence_checks import IdSequence

BIGINT, INTEGER = 2**63 - 1, 2**31 - 1
PLAIN = IdSequence("public", "s", 8, 1, 1, BIGINT, 1, 1, cycles=False)
DOWN = replace(PLAIN, start=-1, min=-BIGINT - 1, max=-1, step=-1)
ROLES = [name for name in grants.RIGHTS if name != rights_checks.EVERYBODY]


@pytest.mark.parametrize(
    ("made", "following", "newest", "verdict"),
    [
        (PLAIN, 1, None, "ok"),
        (PLAIN, 10**12, 10**12 - 1, "ok"),
        (PLAIN, int(0.96 * BIGINT), None, "fail"),
        (replace(PLAIN, column_bytes=4), 10, INTEGER - 10, "fail"),  # loaded ahead of the sequence
        (replace(PLAIN, column_bytes=4, max=INTEGER), int(0.8 * INTEGER), None, "warn"),
        (replace(PLAIN, max=INTEGER), INTEGER - 10, None, "fail"),  # a serial's, of old
        (replace(PLAIN, cycles=True), 1, None, "warn"),
        (PLAIN, 900, 900, "warn"),  # behind
        (PLAIN, 901, 900, "ok"),
        (DOWN, -901, -900, "ok"),
        (DOWN, -1, -900, "warn"),  # behind
        (DOWN, int(-0.96 * BIGINT), None, "fail"),
        (replace(DOWN, column_bytes=4), -INTEGER, None, "fail"),
        (replace(PLAIN, step=2, cache=50), 1, None, "ok"),
    ],
)
def test_a_sequence_is_judged_by_its_table_its_column_and_its_own_end(
    made: IdSequence, following: int, newest: int | None, verdict: str
) -> None:
    found = sequence_checks.assess("initial_data", made, following, newest)

    assert found.verdict == verdict
    assert bool(found.advice) is (verdict != "ok")


@pytest.mark.parametrize("changes", [{"step": 2}, {"cache": 50}, {"step": -1}])
def test_a_sequence_of_ours_that_was_made_another_is_found(changes: dict[str, int]) -> None:
    found = sequence_checks.assess("dead_letter", replace(PLAIN, **changes), 1, None)  # type: ignore[arg-type]

    assert found.verdict == "warn"
    assert "INCREMENT 1 CACHE 1" in found.advice


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (replace(PLAIN, column_bytes=4, max=INTEGER), "--widen"),
        (replace(PLAIN, column_bytes=4), "--widen"),
        (replace(PLAIN, max=INTEGER), "ALTER SEQUENCE s AS bigint MAXVALUE"),
        (replace(PLAIN, max=10**6), "ALTER SEQUENCE s AS bigint MAXVALUE"),
    ],
)
def test_what_ends_first_is_what_is_to_be_made_longer(made: IdSequence, text: str) -> None:
    assert text in sequence_checks.assess("initial_data", made, made.last, None).advice


def test_rights_as_they_are_granted_pass() -> None:
    verdicts = [
        one.verdict
        for one in rights_checks.compare(grants.RIGHTS, ROLES, {"ingest": ["minutebook_ingest"]})
    ]

    assert verdicts == ["ok", "ok"]


def test_who_has_no_roles_of_ours_is_not_asked_for_them() -> None:
    everybody = {rights_checks.EVERYBODY: grants.RIGHTS[rights_checks.EVERYBODY]}

    assert [one.verdict for one in rights_checks.compare(everybody, [], {})] == ["ok", "ok"]


def test_a_right_on_a_whole_table_is_one_on_its_columns_and_too_many() -> None:
    whole = {**grants.RIGHTS["minutebook_ingest"], "initial_data": {"SELECT"}}

    lacking, beyond = rights_checks.compare(
        {**grants.RIGHTS, "minutebook_ingest": whole}, ROLES, {}
    )

    assert lacking.verdict == "ok"
    assert (beyond.verdict, beyond.found) == (
        "warn",
        "granted: minutebook_ingest: SELECT on initial_data",
    )


def test_what_a_login_was_granted_itself_is_judged_by_its_roles() -> None:
    given = {**grants.RIGHTS, "ingest": {"balance": {"UPDATE"}, "their_audit": {"INSERT"}}}

    _, beyond = rights_checks.compare(given, ROLES, {"ingest": ["minutebook_ingest"]})

    assert beyond.found == "granted: ingest: UPDATE on balance"


def test_a_collation_of_another_version_says_what_to_build_anew_and_what_to_note() -> None:
    found = collation_checks.assess([("DATABASE minutebook", "2.31", "2.41")])

    assert (found.verdict, found.found) == ("fail", "DATABASE minutebook was 2.31, is 2.41")
    assert "REINDEX DATABASE" in found.advice
    assert "ALTER DATABASE minutebook REFRESH COLLATION VERSION" in found.advice
