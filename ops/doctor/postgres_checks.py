"""Postgres: what it must not forget, what it must not run out of, what must be in place."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import psycopg

from adoption.checks import TOPICS, Problem, problems
from ops.doctor import (
    collation_checks,
    core,
    follower_checks,
    growth_checks,
    identity_checks,
    postgres_store,
    rights_checks,
    sequence_checks,
)
from ops.doctor.core import Check
from ops.doctor.postgres_store import Load
from ops.wording import age, count
from shared import session_settings
from shared.postgres import SCHEMA_NEEDED, SCHEMA_TOLERATED, SERVER_VERSION_MIN, missing_schema

SERVER = "postgres"
CONNECTIONS_FREE_MIN, CONNECTIONS_FREE_LOW = 5, 20
OPEN_WARN_S = 300.0
PARTITIONS_MANY = 100
"""Any retention needs some thirty at most."""
ID_AGE_WARN, ID_AGE_FAIL = 1_000_000_000, 1_900_000_000
LOST = "a crash can lose or garble all"
READ_ONLY = (
    "point POSTGRES_DSN at the primary if this is a replica (pg_is_in_recovery());"
    " else ALTER SYSTEM RESET default_transaction_read_only"
)
DAMAGED = "RESET it, for the role and the database too: rows of a damaged page vanish"
WRONG = {
    "fsync": ("off", f"ALTER SYSTEM SET fsync = on: {LOST}"),
    "full_page_writes": ("off", f"ALTER SYSTEM SET full_page_writes = on: {LOST}"),
    "session_replication_role": (
        "replica",
        "set it to origin: with replica our triggers do not see changes",
    ),
    "zero_damaged_pages": ("on", DAMAGED),
    "ignore_checksum_failure": ("on", DAMAGED),
    "transaction_read_only": ("on", READ_ONLY),
}
"""Settings, the value that is wrong, and what to do about it."""


def inspect(conn: psycopg.Connection) -> Iterator[Check]:
    """Yield all checks; `conn` comes with no settings but the server's own."""
    named = postgres_store.settings(conn)
    session_settings.pin(conn)  # for our questions, after those about settings
    yield from durable(named)
    version = postgres_store.schema(conn)
    yield core.check(
        SERVER,
        "schema",
        version or missing_schema(conn),
        fail=not SCHEMA_NEEDED <= version <= SCHEMA_TOLERATED,
        advice=f"run python -m migrations: this release needs {SCHEMA_NEEDED}",
    )
    if version < SCHEMA_NEEDED:
        return
    yield from room(postgres_store.load(conn), named)
    yield from tables(problems(conn))
    yield identity_checks.inspect(conn)
    yield from growth_checks.inspect(conn)
    yield collation_checks.inspect(conn)
    yield from sequence_checks.inspect(conn)
    yield from rights_checks.inspect(conn)
    yield from follower_checks.positions(conn)


def durable(named: Mapping[str, str]) -> Iterator[Check]:
    """Assess what decides whether a commit is kept."""
    say = partial(core.check, SERVER)
    version, encoding = named["server_version_num"], named["server_encoding"]
    yield say(
        "version",
        f"{int(version) // 10_000}.{int(version) % 10_000}",
        fail=int(version) < SERVER_VERSION_MIN,
        advice="upgrade to Postgres 15 or newer",
    )
    yield say(
        "server_encoding",
        encoding,
        fail=encoding != "UTF8",
        advice="make a database in UTF8 and restore into it: names would be damaged",
    )
    for name, (wrong, advice) in WRONG.items():
        yield say(name, named[name], fail=named[name] == wrong, advice=advice)
    commit, standbys = named["synchronous_commit"], named["synchronous_standby_names"]
    yield say(
        "synchronous_commit",
        commit,
        fail=commit == "off",
        warn=commit == "local" and bool(standbys),
        advice="ALTER SYSTEM SET synchronous_commit = on: ingest acknowledges what is"
        " committed, and a crash must not lose that",
    )
    timeout = int(named["idle_in_transaction_session_timeout"])
    yield say(
        "idle_in_transaction_session_timeout",
        f"{timeout} ms",
        warn=timeout == 0,
        advice="ALTER SYSTEM SET idle_in_transaction_session_timeout = '10min': a forgotten"
        " transaction of anyone's keeps old rows and locks without limit",
    )


def room(load: Load, named: Mapping[str, str]) -> Iterator[Check]:
    """Assess what may run out, and what is open for too long."""
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
    for name, id_age in (("transaction ids", load.xid_age), ("multixact ids", load.multixact_age)):
        yield say(
            name,
            f"{id_age:,} old",
            fail=id_age > ID_AGE_FAIL,
            warn=id_age > ID_AGE_WARN,
            advice="VACUUM FREEZE; find what holds it back: old transactions, replication"
            " slots, prepared transactions. At 2,000,000,000 Postgres takes no more writes",
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
    yield say(
        "outbox partitions in all",
        load.partitions,
        warn=load.partitions > PARTITIONS_MANY,
        advice="every tick looks into each: what keeps the syncer from dropping them (its log,"
        " upkeep_failed; open transactions)? Or shorten OUTBOX_RETENTION_HOURS",
    )


def tables(found: Sequence[Problem]) -> Iterator[Check]:
    """Assess what anybody can have changed of the tables, by topic."""
    for topic in TOPICS:
        mine = [one for one in found if one.topic == topic]
        yield core.check(
            SERVER,
            topic,
            "; ".join(one.what for one in mine) or "as they must be",
            fail=bool(mine),
            advice="; ".join(one.advice for one in mine),
        )
