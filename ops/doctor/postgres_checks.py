"""Postgres: what it must not forget, what it must not run out of, what must be in place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg

from ops.doctor import core, rights_checks
from ops.doctor.core import Check
from ops.wording import age, count
from shared.postgres import SCHEMA_NEEDED, SCHEMA_TOLERATED

SERVER = "postgres"
SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "synchronous_standby_names",
    "idle_in_transaction_session_timeout",
    "max_connections",
    "server_encoding",
    "server_version_num",
    "session_replication_role",
    "transaction_read_only",
)
VERSION_MIN = 150_000
CONNECTIONS_FREE_MIN, CONNECTIONS_FREE_LOW = 5, 20
USED_WARN, USED_FAIL = 0.75, 0.95
OPEN_WARN_S = 300.0
XID_AGE_WARN, XID_AGE_FAIL = 1_000_000_000, 1_900_000_000
TRIGGERS = {
    (relation, name)
    for relation in ("historical_transactions", "initial_data")
    for name in (
        "minutebook_inserted",
        "minutebook_updated",
        "minutebook_deleted",
        "minutebook_truncated",
    )
} | {("tick", "tick_refuse_own_rows")}

SELECT_SETTINGS: LiteralString = """
SELECT name, setting
  FROM pg_settings
 WHERE name = ANY (%(names)s)
"""
SELECT_SCHEMA: LiteralString = "SELECT coalesce(max(version), 0) FROM schema_migration"
SELECT_LOAD: LiteralString = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       coalesce((SELECT extract(epoch FROM now() - min(xact_start))::float8
                   FROM pg_stat_activity
                  WHERE datname = current_database()
                    AND pid <> pg_backend_pid()), 0),
       coalesce((SELECT extract(epoch FROM now() - min(prepared))::float8
                   FROM pg_prepared_xacts
                  WHERE database = current_database()), 0),
       (SELECT count(*) FROM pg_stat_replication),
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
       (SELECT count(*) FROM outbox_default),
       EXISTS (SELECT
                 FROM pg_inherits i
                WHERE i.inhparent = 'outbox'::regclass
                  AND i.inhrelid = to_regclass('outbox_' || to_char(
                      (now() + interval '1 hour') AT TIME ZONE 'UTC', 'YYYYMMDD_HH24')))
"""
SELECT_TRIGGERS: LiteralString = """
SELECT tgrelid::regclass::text, tgname
  FROM pg_trigger
 WHERE NOT tgisinternal
   AND tgenabled IN ('O', 'A')
   AND tgrelid IN ('historical_transactions'::regclass, 'initial_data'::regclass,
                   'tick'::regclass)
"""
# How much of the ids is used: what the sequence has given out, against the narrower of its own end
# and what the column holds.
SELECT_IDS: LiteralString = """
SELECT i.relation, a.attlen, s.seqmax, v.last_value, i.newest
  FROM (SELECT 'historical_transactions' AS relation,
               minutebook_transactions_sequence() AS sequence,
               (SELECT max(id) FROM historical_transactions) AS newest
         UNION ALL
        SELECT 'outbox', pg_get_serial_sequence('outbox', 'id')::regclass, NULL
         UNION ALL
        SELECT 'dead_letter', pg_get_serial_sequence('dead_letter', 'id')::regclass, NULL) AS i
  JOIN pg_attribute a ON a.attrelid = i.relation::regclass AND a.attname = 'id'
  JOIN pg_sequence s ON s.seqrelid = i.sequence
 CROSS JOIN LATERAL (SELECT coalesce(pg_sequence_last_value(i.sequence), 0) AS last_value) AS v
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in use now; ages in seconds."""

    connections: int
    oldest_transaction_s: float
    oldest_prepared_s: float
    standbys: int
    xid_age: int
    default_rows: int
    partition_ahead: bool


def look(conn: psycopg.Connection) -> Iterator[Check]:
    """Yield all checks; `conn` has no settings but the server's own."""
    named: dict[str, str] = dict(conn.execute(SELECT_SETTINGS, {"names": list(SETTINGS)}))
    try:
        schema = conn.execute(SELECT_SCHEMA).fetchone()
    except psycopg.errors.UndefinedTable:
        schema = (0,)
    yield from durable(named)
    version = schema[0] if schema else 0
    yield core.check(
        SERVER,
        "schema",
        version,
        fail=not SCHEMA_NEEDED <= version <= SCHEMA_TOLERATED,
        advice=f"run python -m migrations: this release needs {SCHEMA_NEEDED}",
    )
    if version < SCHEMA_NEEDED:
        return
    row = conn.execute(SELECT_LOAD).fetchone()
    if row is not None:
        yield from room(Load(*row), named)
    yield triggers({(relation, name) for relation, name in conn.execute(SELECT_TRIGGERS)})
    yield rights_checks.look(conn)
    for ids in conn.execute(SELECT_IDS):
        yield exhaustion(*ids)


def durable(named: Mapping[str, str]) -> Iterator[Check]:
    """Judge what decides whether a commit is kept."""
    say = partial(core.check, SERVER)
    yield say(
        "version",
        named["server_version_num"],
        fail=int(named["server_version_num"]) < VERSION_MIN,
        advice="upgrade to Postgres 15 or newer",
    )
    yield say(
        "server_encoding",
        named["server_encoding"],
        fail=named["server_encoding"] != "UTF8",
        advice="make a database in UTF8 and restore into it: names would be garbled",
    )
    for name in ("fsync", "full_page_writes"):
        yield say(
            name,
            named[name],
            fail=named[name] != "on",
            advice=f"ALTER SYSTEM SET {name} = on: a crash can lose or garble all",
        )
    commit, standbys = named["synchronous_commit"], named["synchronous_standby_names"]
    yield say(
        "synchronous_commit",
        commit,
        fail=commit == "off",
        warn=commit == "local" and bool(standbys),
        advice="ALTER SYSTEM SET synchronous_commit = on: ingest acknowledges what is"
        " committed, and a crash must not lose that",
    )
    yield say(
        "session_replication_role",
        named["session_replication_role"],
        fail=named["session_replication_role"] == "replica",
        advice="set it to origin: with replica our triggers do not see changes",
    )
    yield say(
        "transaction_read_only",
        named["transaction_read_only"],
        fail=named["transaction_read_only"] == "on",
        advice="point POSTGRES_DSN at the primary if this is a replica (pg_is_in_recovery());"
        " else ALTER SYSTEM RESET default_transaction_read_only",
    )
    timeout = int(named["idle_in_transaction_session_timeout"])
    yield say(
        "idle_in_transaction_session_timeout",
        f"{timeout} ms",
        warn=timeout == 0,
        advice="ALTER SYSTEM SET idle_in_transaction_session_timeout = '10min': a forgotten"
        " transaction of anyone's keeps old rows and locks for ever",
    )


def room(load: Load, named: Mapping[str, str]) -> Iterator[Check]:
    """Judge what may run out, and what is open for too long."""
    say = partial(core.check, SERVER)
    free = int(named["max_connections"]) - load.connections
    yield say(
        "max_connections",
        f"{load.connections} of {named['max_connections']} in use",
        fail=free < CONNECTIONS_FREE_MIN,
        warn=free < CONNECTIONS_FREE_LOW,
        advice="raise max_connections, or find who holds them: SELECT * FROM"
        " pg_stat_activity; ingest takes 2 each, the syncer 1",
    )
    standbys = named["synchronous_standby_names"]
    yield say(
        "synchronous_standby_names",
        standbys or "none",
        warn=bool(load.standbys) and not standbys,
        advice="name the standby: a failover to one that is behind loses commits that were"
        " acknowledged",
    )
    oldest = max(load.oldest_transaction_s, load.oldest_prepared_s)
    yield say(
        "open transactions",
        f"the oldest {age(oldest)}",
        warn=oldest > OPEN_WARN_S,
        advice="SELECT pid, state, xact_start, query FROM pg_stat_activity ORDER BY"
        " xact_start, and pg_prepared_xacts: what it wrote counts only once it"
        " commits, and partitions wait for it",
    )
    yield say(
        "transaction ids",
        f"{load.xid_age:,} old",
        fail=load.xid_age > XID_AGE_FAIL,
        warn=load.xid_age > XID_AGE_WARN,
        advice="VACUUM FREEZE; find what holds it back: old transactions, replication"
        " slots, prepared transactions",
    )
    yield say(
        "outbox default partition",
        count(load.default_rows, "row"),
        warn=bool(load.default_rows),
        advice="ops outbox repair: they count, but keep partitions from being made",
    )
    yield say(
        "outbox partitions",
        "made ahead" if load.partition_ahead else "none for in an hour",
        warn=not load.partition_ahead,
        advice="is the syncer running? It makes them after a tick",
    )


def triggers(found: set[tuple[str, str]]) -> Check:
    """Judge whether all our triggers are there and at work."""
    missing = sorted(f"{name} on {relation}" for relation, name in TRIGGERS - found)
    return core.check(
        SERVER,
        "triggers",
        f"missing or disabled: {', '.join(missing)}" if missing else "enabled",
        fail=bool(missing),
        advice="ALTER TABLE … ENABLE TRIGGER …, then ops reconcile: changes meanwhile were not"
        " counted",
    )


def exhaustion(relation: str, length: int, end: int, given: int, newest: int | None) -> Check:
    """Judge how many ids a table has left; `length` in bytes."""
    last = min(end, 2 ** (8 * length - 1) - 1)
    used = max(given, newest or 0) / last
    return core.check(
        SERVER,
        f"ids of {relation}",
        f"{used:.1%} used",
        fail=used > USED_FAIL,
        warn=used > USED_WARN,
        advice="python -m migrations --widen (rewrites the table: plan for it), or raise the"
        " sequence's MAXVALUE",
    )
