"""Postgres: whether our roles have the rights that they need, and the services' logins no more."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import LiteralString

import psycopg

from ops.doctor import core, grant_catalogue, grants
from ops.doctor.core import Check

EVERYBODY = "everybody"
SHOWN_MAX = 5
# A login that owns the tables, or may become who does, is held back by no grant.
SELECT_MIGHTY: LiteralString = """
SELECT DISTINCT substr(a.application_name, 12), a.usename
  FROM pg_stat_activity a
  JOIN pg_class c ON c.oid = 'tick'::regclass
 WHERE a.datname = current_database()
   AND a.application_name IN
       ('minutebook-ingest', 'minutebook-syncer', 'minutebook-feed', 'minutebook-notifier',
        'minutebook-gateway', 'minutebook-observer', 'minutebook-console')
   AND pg_has_role(a.usesysid, c.relowner, 'MEMBER')
 ORDER BY 1
"""
SELECT_MEMBERS: LiteralString = """
SELECT member::regrole::text, roleid::regrole::text
  FROM pg_auth_members
 WHERE roleid::regrole::text = ANY (%(groups)s)
"""
SELECT_ABSENT: LiteralString = """
SELECT 'initial_data_id_seq'
 WHERE minutebook_id_sequence('initial_data') IS NULL
"""
SELECT_ROLES: LiteralString = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%(groups)s)"


def inspect(conn: psycopg.Connection) -> Iterator[Check]:
    """Look who is connected and what is granted, and assess."""
    yield assess(conn.execute(SELECT_MIGHTY).fetchall())
    groups = {"groups": sorted(grants.RIGHTS)}
    roles = [name for (name,) in conn.execute(SELECT_ROLES, groups)]
    members = defaultdict(set)
    for member, group in conn.execute(SELECT_MEMBERS, groups):
        members[member].add(group)
    absent = {name for (name,) in conn.execute(SELECT_ABSENT)}
    yield from compare(grant_catalogue.granted(conn), roles, members, absent)


def assess(mighty: Sequence[tuple[str, str]]) -> Check:
    """Assess services that may do all that the owner may: which, and as whom."""
    who = ", ".join(f"{service} as {login}" for service, login in mighty)
    return core.check(
        "postgres",
        "services' rights",
        f"the owner's: {who}" if who else "no more than theirs",
        warn=bool(who),
        advice="give each a login of its own (POSTGRES_INGEST_PASSWORD and its like): one that is"
        " stolen can then change no balance, or add no transaction",
    )


def compare(
    granted: grants.Rights,
    roles: Sequence[str],
    members: Mapping[str, Collection[str]],
    absent: Collection[str] = (),
) -> Iterator[Check]:
    """Assess what is granted to our roles, to members of them, and to everybody.

    `roles` are those of ours that exist: where everything runs as one user there may be none. On
    what is `absent` no right is needed.
    """
    missing = []
    for role in roles:
        has = granted.get(role, {})
        for name, rights in grants.RIGHTS[role].items():
            if name in absent:
                continue
            given = has.get(name, set()) | granted.get(EVERYBODY, {}).get(name, set())
            missing += [f"{role}: {right} on {name}" for right in _beyond(rights, given)]
    yield core.check(
        "postgres",
        "rights granted",
        _first(missing, "lacking") or "all that are needed",
        fail=bool(missing),
        advice="python -m migrations grants them again",
    )
    needed = {role: grants.RIGHTS[role] for role in (*roles, EVERYBODY)}
    for member, groups in members.items():
        needed[member] = _union([grants.RIGHTS[group] for group in groups])
    beyond = [
        f"{grantee}: {right} on {name}"
        for grantee, expected in sorted(needed.items())
        for name, rights in granted.get(grantee, {}).items()
        if _is_ours(name)
        for right in _beyond(rights, expected.get(name, set()))
    ]
    yield core.check(
        "postgres",
        "rights beyond need",
        _first(beyond, "granted") or "none",
        warn=bool(beyond),
        advice="REVOKE them, unless you know what for: a stolen password could change more",
    )


def _beyond(rights: Collection[str], others: Collection[str]) -> list[str]:
    """Return those of `rights` that `others` do not cover, column by column."""
    covered = [_parts(one) for one in others]
    beyond = []
    for right in sorted(rights):
        kind, columns = _parts(right)
        if any(other == kind and not held for other, held in covered):
            continue
        held = {column for other, some in covered if other == kind for column in some}
        if not columns:
            beyond.append(kind)
        elif columns - held:
            beyond.append(f"{kind} ({', '.join(sorted(columns - held))})")
    return beyond


def _parts(right: str) -> tuple[str, set[str]]:
    """Return `SELECT (a, b)` as its kind and its columns; none means all."""
    found = re.fullmatch(r"(.+) \((.+)\)", right)
    return (found[1], set(found[2].split(", "))) if found else (right, set())


def _union(several: Sequence[Mapping[str, set[str]]]) -> dict[str, set[str]]:
    names = {name for one in several for name in one}
    return {name: set().union(*(one.get(name, set()) for one in several)) for name in names}


def _is_ours(name: str) -> bool:
    """Say whether it is ours to assess: what else the user grants to our roles is for triggers."""
    known = {known for rights in grants.RIGHTS.values() for known in rights} - {
        "schema",
        "database",
    }
    return name in known or name.startswith(("minutebook_", "outbox_", "role ", "cluster"))


def _first(found: Sequence[str], word: str) -> str:
    more = len(found) - SHOWN_MAX
    shown = "; ".join(found[:SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
    return f"{word}: {shown}" if found else ""
