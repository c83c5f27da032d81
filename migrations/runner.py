"""Applies numbered SQL files, each once, each in one transaction, one runner at a time.

The first run adopts the user's tables in one transaction, which ends with a trial of what will be
done to them: if that fails, nothing has changed.

What was applied is remembered with a checksum: a file that was edited or is missing is refused,
because then nobody can say what the database holds.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg
import structlog

from adoption import checks, trial
from migrations import locks
from shared import postgres
from shared.errors import Refusal

FOLDER = Path(__file__).parent
FIRST_VERSION = 1

LOCK: LiteralString = "SELECT pg_advisory_lock(hashtextextended('minutebook:migrate', 0))"
UNLOCK: LiteralString = "SELECT pg_advisory_unlock(hashtextextended('minutebook:migrate', 0))"
# A migration may take its time; only its waits for locks are limited, by `locks`.
UNLIMITED: LiteralString = "SET statement_timeout = 0; SET lock_timeout = 0"
CREATE_TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer     NOT NULL,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migration_pkey PRIMARY KEY (version)
)
"""
SELECT_APPLIED: LiteralString = """
SELECT version, name, checksum
  FROM schema_migration
 ORDER BY version
"""
INSERT_APPLIED: LiteralString = """
INSERT INTO schema_migration (version, name, checksum)
VALUES (%(version)s, %(name)s, %(checksum)s)
"""
# Nobody changes what is being adopted. The second lock is as strong as 0001 needs it.
LOCK_THEIRS: dict[str, LiteralString] = {
    "initial_data": "LOCK TABLE initial_data IN SHARE ROW EXCLUSIVE MODE",
    "historical_transactions": "LOCK TABLE historical_transactions IN ACCESS EXCLUSIVE MODE",
}
# Otherwise a later file could not change a table whose deferred triggers have yet to run.
DEFER_NOTHING: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"
SELECT_EXISTING: LiteralString = """
SELECT name
  FROM unnest(%(names)s::text[]) AS name
 WHERE to_regclass(name) IS NOT NULL
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_adopt_transactions.sql` has version 1."""

    version: int
    name: str
    checksum: str
    sql: LiteralString


def read(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations in `folder`, by version. Raises `Refusal` on gaps in their numbers."""
    found = [_read_file(path) for path in sorted(folder.glob("[0-9]*_*.sql"))]
    if [one.version for one in found] != list(range(FIRST_VERSION, FIRST_VERSION + len(found))):
        raise Refusal("migration files are not numbered 0001, 0002, … without gaps")
    return found


def apply(
    conn: psycopg.Connection,
    migrations: Sequence[Migration],
    run_step: locks.RunStep = locks.run_once,
) -> list[Migration]:
    """Apply what is missing and return it; an empty list when there was nothing to do.

    Raises `Refusal` before anything changes: an edited or missing file, a table of somebody else
    under one of our names, a database that is not in UTF-8.
    """
    conn.execute(UNLIMITED)
    run_step("the lock of another migration", lambda: conn.execute(LOCK))
    try:
        missing = pending(conn, migrations)
        if missing and missing[0].version == FIRST_VERSION:
            run_step("adoption", partial(_adopt, conn, missing))
            return missing
        for migration in missing:
            name = f"migration {migration.version} ({migration.name})"
            run_step(name, partial(_apply_one, conn, migration))
        return missing
    finally:
        conn.execute(UNLOCK)


def pending(conn: psycopg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Return what `apply` would apply, changing nothing. Raises `Refusal` as it does."""
    done = _applied(conn, migrations)
    _compare(done, migrations)
    return list(migrations[len(done) :])


def tables(migrations: Iterable[Migration]) -> list[str]:
    """Return the names of our own tables: the user's are made `IF NOT EXISTS`."""
    text = "".join(one.sql for one in migrations)
    return re.findall(r"^CREATE TABLE (?!IF)(\w+)", text, re.MULTILINE)


def _applied(
    conn: psycopg.Connection, migrations: Sequence[Migration]
) -> list[tuple[int, str, str]]:
    encoding = postgres.scalar(conn, postgres.SELECT_ENCODING)
    if encoding != "UTF8":
        raise Refusal(f"the database's encoding is {encoding}; it must be UTF8")
    if not _existing(conn, ["schema_migration"]):
        if foreign := ", ".join(_existing(conn, tables(migrations))):
            raise Refusal(f"tables of another program have names that Minutebook uses: {foreign}")
        return []
    try:
        return conn.execute(SELECT_APPLIED).fetchall()
    except psycopg.errors.UndefinedColumn:
        raise Refusal("another program's table is named schema_migration") from None


def _existing(conn: psycopg.Connection, tables: Iterable[str]) -> list[str]:
    rows = conn.execute(SELECT_EXISTING, {"names": list(tables)})
    return [name for (name,) in rows]


def _compare(done: Sequence[tuple[int, str, str]], files: Sequence[Migration]) -> None:
    for version, name, checksum in done:
        if version > len(files):
            raise Refusal(
                f"migration {version} ({name}) was applied, but its file is missing:"
                " is this an older release than the one that applied it?"
            )
        if files[version - 1].checksum != checksum:
            raise Refusal(
                f"migration {version} ({name}) was edited after it was applied, so nobody can say"
                " what this database holds: run the release that applied it; or copy initial_data"
                " and historical_transactions into a new database and migrate that one"
            )


def _adopt(conn: psycopg.Connection, migrations: Sequence[Migration]) -> None:
    checks.refuse(conn)
    with conn.transaction():
        conn.execute(DEFER_NOTHING)
        for name in _existing(conn, LOCK_THEIRS):
            conn.execute(LOCK_THEIRS[name])
        for migration in migrations:
            _apply_one(conn, migration)
        if migrations[-1].version >= postgres.SCHEMA_NEEDED:
            trial.run(conn)


def _apply_one(conn: psycopg.Connection, migration: Migration) -> None:
    with conn.transaction():
        conn.execute(CREATE_TABLE)
        conn.execute(migration.sql)
        conn.execute(INSERT_APPLIED, asdict(migration))
    log.info("migration_applied", version=migration.version, name=migration.name)


def _read_file(path: Path) -> Migration:
    number, _, name = path.stem.partition("_")
    text = path.read_text(encoding="utf-8")
    return Migration(int(number), name, hashlib.sha256(text.encode()).hexdigest(), text)
