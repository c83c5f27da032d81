"""Who may do what: rights granted at every run, and the services' logins if passwords are given.

A login is a name, a password and the one group whose rights it has. Passwords reach the server as
what it would store of them, so that none of its logs can show one.
"""

from collections.abc import Mapping
from typing import LiteralString

import psycopg
import structlog
from psycopg import sql

from shared.errors import Refusal

EXPORTERS = "pg_monitor"
"""Postgres's own group for monitoring: statistics and settings, no table of anybody's."""
SERVICES = (
    "ingest", "syncer", "feed", "notifier", "tracker", "gateway", "observer", "console", "ops",
)  # fmt: skip
GROUPS = {login: f"minutebook_{login}" for login in SERVICES} | {"exporter": EXPORTERS}
"""The logins that this can make, and the group of each."""

GRANT: LiteralString = "SELECT minutebook_grant_rights()"
# A login that somebody else made is left alone.
SELECT_LOGIN: LiteralString = """
SELECT pg_has_role(oid, %(group)s, 'MEMBER') AND NOT rolsuper
  FROM pg_roles
 WHERE rolname = %(login)s
"""
SELECT_GROUP: LiteralString = "SELECT to_regrole(%(group)s) IS NOT NULL"

log = structlog.get_logger()


def grant(conn: psycopg.Connection) -> list[str]:
    """Grant the groups their rights; returns, and says, which of them only others could complete.

    Needed at every run: since the last one an administrator may have made them, or a restore may
    have brought tables without rights.
    """
    lacking: list[str] = conn.execute(GRANT).fetchall()[0][0]
    if lacking:
        log.warning("roles_missing", roles=lacking, hint="deploy/postgres/roles.sql, then again")
    return lacking


def ensure_logins(conn: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    """Make the logins of `passwords`, or give them these passwords, in one transaction.

    Raises `Refusal` for a name that somebody else uses, and for a group that is missing.
    """
    with conn.transaction():
        for login, password in passwords.items():
            _ensure_login(conn, login, password)
    if passwords:
        log.info("logins_ready", logins=sorted(passwords))


def _ensure_login(conn: psycopg.Connection, login: str, password: str) -> None:
    names = {"login": login, "group": GROUPS[login]}
    if conn.execute(SELECT_GROUP, names).fetchone() == (False,):
        raise Refusal(f"login {login} cannot be made: role {names['group']} is missing")
    found = conn.execute(SELECT_LOGIN, names).fetchone()
    if found == (False,):
        raise Refusal(
            f"role {login} belongs to somebody else (it is no member of {names['group']}, or a"
            " superuser): give the services a POSTGRES_DSN of their own"
        )
    verb = "ALTER ROLE {} LOGIN PASSWORD {}" if found else "CREATE ROLE {} LOGIN PASSWORD {}"
    conn.execute(sql.SQL(verb).format(sql.Identifier(login), _as_stored(conn, login, password)))
    if not found:
        member = sql.SQL("GRANT {} TO {}")
        conn.execute(member.format(sql.Identifier(names["group"]), sql.Identifier(login)))


def _as_stored(conn: psycopg.Connection, login: str, password: str) -> sql.Literal:
    stored = conn.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
    return sql.Literal(stored.decode())
